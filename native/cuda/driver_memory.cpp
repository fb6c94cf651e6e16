// driver_used_bytes, through NVML, which comes with every driver. It is loaded when asked for: the
// library then needs no NVML to build or to start.
#include "driver_memory.h"

#include <cuda_runtime_api.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace qlora {
namespace cuda {
namespace {

#if defined(_WIN32)
class Library {
 public:
  Library() : handle_(LoadLibraryA("nvml.dll")) {}
  ~Library() {
    if (handle_ != nullptr) FreeLibrary(handle_);
  }
  void* find(const char* name) const {
    return handle_ == nullptr ? nullptr : reinterpret_cast<void*>(GetProcAddress(handle_, name));
  }

 private:
  HMODULE handle_;
};
#else
class Library {
 public:
  Library() : handle_(dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL)) {}
  ~Library() {
    if (handle_ != nullptr) dlclose(handle_);
  }
  void* find(const char* name) const { return handle_ == nullptr ? nullptr : dlsym(handle_, name); }

 private:
  void* handle_;
};
#endif

// As nvml.h declares them.
struct NvmlMemory {
  unsigned long long total, free, used;
};
using NvmlDevice = void*;
using Init = int (*)();
using Shutdown = int (*)();
using FindDevice = int (*)(const char* bus_id, NvmlDevice* device);
using MemoryInfo = int (*)(NvmlDevice device, NvmlMemory* memory);

int64_t used_bytes(const Library& nvml, const char* bus_id) {
  const auto find_device =
      reinterpret_cast<FindDevice>(nvml.find("nvmlDeviceGetHandleByPciBusId_v2"));
  const auto memory_info = reinterpret_cast<MemoryInfo>(nvml.find("nvmlDeviceGetMemoryInfo"));
  if (find_device == nullptr || memory_info == nullptr) return -1;
  NvmlDevice device = nullptr;
  NvmlMemory memory{};
  if (find_device(bus_id, &device) != 0 || memory_info(device, &memory) != 0) return -1;
  return static_cast<int64_t>(memory.used);
}

}  // namespace

int64_t driver_used_bytes(int ordinal) {
  char bus_id[32] = "";
  if (cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, ordinal) != cudaSuccess) {
    cudaGetLastError();
    return -1;
  }
  const Library nvml;
  const auto init = reinterpret_cast<Init>(nvml.find("nvmlInit_v2"));
  const auto shutdown = reinterpret_cast<Shutdown>(nvml.find("nvmlShutdown"));
  if (init == nullptr || shutdown == nullptr || init() != 0) return -1;
  const int64_t bytes = used_bytes(nvml, bus_id);
  shutdown();
  return bytes;
}

}  // namespace cuda
}  // namespace qlora
