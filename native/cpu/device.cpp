// The CPU's Device: create, memory, description.
#include <cstring>
#include <sstream>
#include <system_error>
#include <thread>
#include <utility>

#include "cpu_device.h"
#include "error.h"
#include "isa.h"
#include "platform.h"

#ifndef QLORA_VERSION
#define QLORA_VERSION "1.0.0"
#endif

namespace qlora {
namespace cpu {
namespace {

constexpr int kMaxThreads = 256;

int available_threads() {
  const unsigned count = std::thread::hardware_concurrency();
  if (count < 1) return 1;
  return count < unsigned{kMaxThreads} ? static_cast<int>(count) : kMaxThreads;
}

void* allocate_or_throw(size_t bytes, size_t alignment) {
  void* pointer = aligned_allocate(bytes > 0 ? bytes : 1, alignment);
  if (pointer != nullptr) return pointer;
  std::ostringstream message;
  message << "out of memory: " << bytes << " bytes were wanted, " << system_memory().free_bytes
          << " are free; use a smaller micro-batch or model, or close other programs";
  throw Error(QLORA_ERROR_OUT_OF_MEMORY, message.str());
}

// The text between JSON quotes; control characters, which no processor's name has, become spaces.
std::string json_escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return escaped;
}

}  // namespace

Scratch::~Scratch() { aligned_release(data_); }

Scratch::Scratch(Scratch&& other) noexcept : data_(other.data_), bytes_(other.bytes_) {
  other.data_ = nullptr;
  other.bytes_ = 0;
}

void Scratch::reserve(size_t bytes) {
  if (bytes <= bytes_) return;
  aligned_release(data_);
  data_ = nullptr;
  bytes_ = 0;
  data_ = allocate_or_throw(bytes, 64);
  bytes_ = bytes;
}

CpuDevice::CpuDevice(int threads) : pool_(threads), worker_scratch_(size_t(threads)) {}

void* CpuDevice::allocate(size_t bytes) { return allocate_or_throw(bytes, 256); }

void CpuDevice::release(void* pointer) noexcept { aligned_release(pointer); }

void CpuDevice::copy_to_device(void* dst, const void* src_host, size_t bytes) {
  if (bytes > 0) std::memcpy(dst, src_host, bytes);
}

void CpuDevice::copy_to_host(void* dst_host, const void* src, size_t bytes) {
  if (bytes > 0) std::memcpy(dst_host, src, bytes);
}

void CpuDevice::copy(void* dst, const void* src, size_t bytes) {
  if (bytes > 0) std::memmove(dst, src, bytes);
}

void CpuDevice::fill_zero(void* dst, size_t bytes) {
  char* const base = static_cast<char*>(dst);
  parallel_range(static_cast<int64_t>(bytes), int64_t{1} << 20, [&](int64_t begin, int64_t end) {
    std::memset(base + begin, 0, size_t(end - begin));
  });
}

DeviceMemory CpuDevice::memory() const {
  const SystemMemory memory = system_memory();
  size_t scratch = shared_scratch_.bytes() + op_scratch_.bytes();
  for (const Scratch& own : worker_scratch_) scratch += own.bytes();
  return {memory.total_bytes, memory.free_bytes, static_cast<int64_t>(scratch)};
}

void CpuDevice::reserve_worker_scratch(size_t bytes) {
  for (Scratch& scratch : worker_scratch_) scratch.reserve(bytes);
}

}  // namespace cpu

std::unique_ptr<Device> Device::create(const DeviceOptions& options) {
  if (options.threads < 0 || options.threads > cpu::kMaxThreads) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "threads: expected 0 (all available) to " +
                                                  std::to_string(cpu::kMaxThreads) + ", found " +
                                                  std::to_string(options.threads));
  }
  const int threads = options.threads > 0 ? options.threads : cpu::available_threads();
  try {
    return std::unique_ptr<Device>(new cpu::CpuDevice(threads));
  } catch (const std::system_error& error) {
    throw Error(QLORA_ERROR_DEVICE, "cannot start " + std::to_string(threads) + " threads (" +
                                        error.what() + "); ask for fewer threads");
  }
}

DeviceMemory Device::expected_memory(const DeviceOptions&) {
  const cpu::SystemMemory memory = cpu::system_memory();
  return {memory.total_bytes, memory.free_bytes, 0};
}

std::string Device::describe() {
  const cpu::SystemMemory memory = cpu::system_memory();
  const std::string name = cpu::processor_name();
  std::ostringstream json;
  json << "{\"backend\":\"cpu\",\"version\":\"" << QLORA_VERSION << "\",\"device\":\""
       << cpu::json_escape(name.empty() ? "CPU" : name) << "\",\"isa\":\"" << cpu::isa_name()
       << "\",\"threads\":" << cpu::available_threads()
       << ",\"memory_bytes\":" << memory.total_bytes
       << ",\"memory_free_bytes\":" << memory.free_bytes << "}";
  return json.str();
}

}  // namespace qlora
