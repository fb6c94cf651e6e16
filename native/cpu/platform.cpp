// platform.h
#include "platform.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <intrin.h>
#include <malloc.h>
#include <windows.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#include <unistd.h>
#else
#include <unistd.h>
#endif

namespace qlora {
namespace cpu {
namespace {

#if !defined(_WIN32) && !defined(__APPLE__)
// First number in a one-number file; false when it is absent or says "max".
bool read_number(const char* path, int64_t* value) {
  std::ifstream file(path);
  return static_cast<bool>(file >> *value);
}

// Value in bytes of a "Key:   123 kB" line of /proc/meminfo.
bool read_meminfo(const std::string& key, int64_t* bytes) {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    if (word == key && file >> *bytes) {
      *bytes *= 1024;
      return true;
    }
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return false;
}

// A container's own bound (cgroup v2, then v1).
void apply_container_limit(SystemMemory* memory) {
  const char* const limits[] = {"/sys/fs/cgroup/memory.max",
                                "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  const char* const uses[] = {"/sys/fs/cgroup/memory.current",
                              "/sys/fs/cgroup/memory/memory.usage_in_bytes"};
  for (int version = 0; version < 2; ++version) {
    int64_t limit = 0, used = 0;
    if (!read_number(limits[version], &limit) || limit <= 0) continue;
    if (limit >= memory->total_bytes) return;
    memory->total_bytes = limit;
    if (read_number(uses[version], &used)) {
      memory->free_bytes = std::min(memory->free_bytes, std::max<int64_t>(limit - used, 0));
    }
    return;
  }
}
#endif

}  // namespace

SystemMemory system_memory() {
  SystemMemory memory{0, 0};
#if defined(_WIN32)
  MEMORYSTATUSEX status;
  status.dwLength = sizeof(status);
  if (GlobalMemoryStatusEx(&status)) {
    memory.total_bytes = static_cast<int64_t>(status.ullTotalPhys);
    memory.free_bytes = static_cast<int64_t>(status.ullAvailPhys);
  }
#elif defined(__APPLE__)
  int64_t total = 0;
  size_t size = sizeof(total);
  if (sysctlbyname("hw.memsize", &total, &size, nullptr, 0) == 0) memory.total_bytes = total;
  vm_statistics64_data_t pages;
  mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
  if (host_statistics64(mach_host_self(), HOST_VM_INFO64, reinterpret_cast<host_info64_t>(&pages),
                        &count) == KERN_SUCCESS) {
    memory.free_bytes = static_cast<int64_t>(pages.free_count + pages.inactive_count) *
                        static_cast<int64_t>(sysconf(_SC_PAGESIZE));
  }
#else
  const int64_t page = sysconf(_SC_PAGESIZE);
  memory.total_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * page;
  if (!read_meminfo("MemAvailable:", &memory.free_bytes)) memory.free_bytes = memory.total_bytes;
  apply_container_limit(&memory);
#endif
  return memory;
}

std::string processor_name() {
#if defined(_WIN32)
#if defined(_M_X64)
  int info[4];
  char brand[49] = {};
  for (int leaf = 0; leaf < 3; ++leaf) {
    __cpuid(info, static_cast<int>(0x80000002u + static_cast<unsigned>(leaf)));
    std::copy_n(reinterpret_cast<const char*>(info), 16, brand + 16 * leaf);
  }
  return brand;
#else
  return "";
#endif
#elif defined(__APPLE__)
  char brand[128] = {};
  size_t size = sizeof(brand) - 1;
  return sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0) == 0 ? brand : "";
#else
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (line.compare(0, 10, "model name") == 0 && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "";
#endif
}

void* aligned_allocate(size_t bytes, size_t alignment) noexcept {
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (rounded < bytes) return nullptr;
#if defined(_WIN32)
  return _aligned_malloc(rounded, alignment);
#else
  void* pointer = nullptr;
  return posix_memalign(&pointer, alignment, rounded) == 0 ? pointer : nullptr;
#endif
}

void aligned_release(void* pointer) noexcept {
#if defined(_WIN32)
  _aligned_free(pointer);
#else
  std::free(pointer);
#endif
}

}  // namespace cpu
}  // namespace qlora
