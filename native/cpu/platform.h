// What the operating system knows: the only file of the CPU build that asks it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace qlora {
namespace cpu {

struct SystemMemory {
  int64_t total_bytes;  // of the machine, or of the container it runs in when that is less
  int64_t free_bytes;   // what can be had without swapping
};

SystemMemory system_memory();
std::string processor_name();                                     // empty when unknown
void* aligned_allocate(size_t bytes, size_t alignment) noexcept;  // null when there is none
void aligned_release(void* pointer) noexcept;

}  // namespace cpu
}  // namespace qlora
