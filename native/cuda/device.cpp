// CUDA's Device: create, memory, copies, description.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <sstream>
#include <string>
#include <thread>

#include "cuda_device.h"
#include "error.h"
#include "gemm_plans.h"

#ifndef QLORA_VERSION
#define QLORA_VERSION "1.0.0"
#endif
#ifndef QLORA_ARCHITECTURES
#define QLORA_ARCHITECTURES "unknown architectures"
#endif

namespace qlora {
namespace cuda {
namespace {

constexpr int kLeastCapability = 80;  // Ampere: bf16 in the tensor cores
constexpr int kMostCopiers = 8;       // threads

std::string version_text(int version) {  // 13010 → "13.1"
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

int attribute(cudaDeviceAttr which, int ordinal) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, ordinal), "asking the GPU for its properties");
  return value;
}

int driver_version() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version;
}

int runtime_version() {
  int version = 0;
  cudaRuntimeGetVersion(&version);
  return version;
}

int count_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver || driver_version() == 0) {
    const int driver = driver_version();
    throw Error(QLORA_ERROR_DEVICE,
                driver == 0 ? "no NVIDIA driver is installed; install one that supports CUDA " +
                                  version_text(runtime_version())
                            : "the NVIDIA driver supports CUDA " + version_text(driver) +
                                  ", this library needs " + version_text(runtime_version()) +
                                  "; update the driver");
  }
  if (status != cudaSuccess && status != cudaErrorNoDevice) check(status, "looking for GPUs");
  throw Error(QLORA_ERROR_DEVICE, "no NVIDIA GPU is visible; check nvidia-smi and the environment "
                                  "variable CUDA_VISIBLE_DEVICES");
}

int capability_of(int ordinal) {
  return 10 * attribute(cudaDevAttrComputeCapabilityMajor, ordinal) +
         attribute(cudaDevAttrComputeCapabilityMinor, ordinal);
}

std::string name_of(int ordinal) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, ordinal), "asking the GPU for its properties");
  return properties.name;
}

// After one of these CUDA answers every later call of the process with an error.
bool loses_the_gpu(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContextIsDestroyed:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

std::atomic<cudaError_t> lost{cudaSuccess};  // how the GPU was lost, for the rest of the process

[[noreturn]] void throw_lost(const std::string& what) {
  const cudaError_t status = lost.load();
  throw Error(QLORA_ERROR_DEVICE, what + ": the GPU is lost to this process since an error on it, " +
                                      cudaGetErrorString(status) + " (" +
                                      cudaGetErrorName(status) +
                                      "); restart the process (in a notebook: restart the kernel) "
                                      "and go on from the last checkpoint");
}

void check_not_lost(const char* what) {
  if (lost.load() != cudaSuccess) throw_lost(what);
}

// Throws unless the current GPU, `ordinal`, finds code in this library.
void check_has_code(int ordinal) {
  const cudaError_t status = probe_code();
  if (status == cudaSuccess) return;
  cudaGetLastError();
  const int capability = capability_of(ordinal);
  throw Error(QLORA_ERROR_UNSUPPORTED,
              "this library was compiled for " QLORA_ARCHITECTURES " and has no code that " +
                  name_of(ordinal) + ", compute capability " + std::to_string(capability / 10) +
                  "." + std::to_string(capability % 10) + ", can run (" +
                  cudaGetErrorName(status) +
                  "); build it on this machine: deno task build --force");
}

// Throws unless this GPU can run the library.
void check_usable(int ordinal) {
  check_not_lost("looking for GPUs");
  const int count = count_devices();
  if (ordinal < 0 || ordinal >= count) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "device: expected 0 to " + std::to_string(count - 1) +
                                                  ", found " + std::to_string(ordinal));
  }
  const int capability = capability_of(ordinal);
  if (capability >= kLeastCapability) return;
  throw Error(QLORA_ERROR_UNSUPPORTED,
              name_of(ordinal) + " has compute capability " + std::to_string(capability / 10) +
                  "." + std::to_string(capability % 10) +
                  ", this library needs 8.0 (Ampere: RTX 30, A100) or later; use the CPU build");
}

std::string json_escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '"' || c == '\\') escaped += '\\';
    escaped += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return escaped;
}

DeviceMemory device_memory() {
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for the GPU's memory");
  return {static_cast<int64_t>(total_bytes), static_cast<int64_t>(free_bytes)};
}

void* allocate_bytes(size_t bytes) {
  void* pointer = nullptr;
  const cudaError_t status = cudaMalloc(&pointer, bytes > 0 ? bytes : 1);
  if (status == cudaSuccess) return pointer;
  cudaGetLastError();
  if (status != cudaErrorMemoryAllocation) check(status, "allocating GPU memory");
  std::ostringstream message;
  message << "out of GPU memory: " << bytes << " bytes were wanted, " << device_memory().free_bytes
          << " are free; use a smaller micro-batch or model, or close other programs";
  throw Error(QLORA_ERROR_OUT_OF_MEMORY, message.str());
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a passing error is not reported twice
  if (loses_the_gpu(status)) lost.store(status);
  check_not_lost(what);
  if (status == cudaErrorMemoryAllocation) {
    throw Error(QLORA_ERROR_OUT_OF_MEMORY,
                std::string(what) + ": out of memory; use smaller sizes or close other programs");
  }
  throw Error(QLORA_ERROR_DEVICE, std::string(what) + " failed: " + cudaGetErrorString(status) +
                                      " (" + cudaGetErrorName(status) + ")");
}

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal), gemm_plans_(new GemmPlans) {
  check_usable(ordinal);
  make_current();
  check_has_code(ordinal);
  sm_count_ = attribute(cudaDevAttrMultiProcessorCount, ordinal);
  max_shared_bytes_ = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
  compute_capability_ = capability_of(ordinal);
  try {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
    if (cublasLtCreate(&blas_) != CUBLAS_STATUS_SUCCESS) {
      throw Error(QLORA_ERROR_DEVICE, "cuBLASLt does not start: " +
                                          std::to_string(device_memory().free_bytes) +
                                          " bytes of GPU memory are free; close other programs, or "
                                          "install the cuBLAS that belongs to CUDA " +
                                          version_text(runtime_version()));
    }
    blas_workspace_ = allocate_bytes(kBlasWorkspaceBytes);
    for (StagingBuffer& buffer : staging_) {
      check(cudaHostAlloc(&buffer.data, kStagingBytes, cudaHostAllocDefault),
            "allocating pinned host memory");
      check(cudaEventCreateWithFlags(&buffer.free, cudaEventDisableTiming), "creating an event");
    }
  } catch (...) {
    destroy();
    throw;
  }
}

CudaDevice::~CudaDevice() {
  cudaSetDevice(ordinal_);
  destroy();
}

void CudaDevice::destroy() noexcept {
  if (stream_ != nullptr) cudaStreamSynchronize(stream_);
  for (StagingBuffer& buffer : staging_) {
    if (buffer.free != nullptr) cudaEventDestroy(buffer.free);
    if (buffer.data != nullptr) cudaFreeHost(buffer.data);
    buffer = StagingBuffer();
  }
  if (tickets_ != nullptr) cudaFree(tickets_);
  if (scratch_ != nullptr) cudaFree(scratch_);
  if (blas_workspace_ != nullptr) cudaFree(blas_workspace_);
  if (blas_ != nullptr) cublasLtDestroy(blas_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  scratch_ = blas_workspace_ = nullptr;
  tickets_ = nullptr;
  blas_ = nullptr;
  stream_ = nullptr;
  cudaGetLastError();
}

void* CudaDevice::allocate(size_t bytes) { return allocate_bytes(bytes); }

void CudaDevice::release(void* pointer) noexcept {
  cudaFree(pointer);
  cudaGetLastError();
}

void CudaDevice::copy_on_host(void* dst, const void* src, size_t bytes) {
  constexpr size_t kPiece = size_t{1} << 18;
  if (bytes < 4 * kPiece) {
    std::memcpy(dst, src, bytes);
    return;
  }
  if (copiers_ == nullptr) {
    const int cores = static_cast<int>(std::thread::hardware_concurrency());
    copiers_.reset(new ThreadPool(std::max(1, std::min(cores, kMostCopiers))));
  }
  copiers_->run(static_cast<int64_t>((bytes + kPiece - 1) / kPiece), [&](int64_t piece, int) {
    const size_t begin = static_cast<size_t>(piece) * kPiece;
    std::memcpy(static_cast<char*>(dst) + begin, static_cast<const char*>(src) + begin,
                std::min(kPiece, bytes - begin));
  });
}

// Through two pinned buffers in turn: one is filled while the other is copied.
void CudaDevice::copy_to_device(void* dst, const void* src_host, size_t bytes) {
  char* to = static_cast<char*>(dst);
  const char* from = static_cast<const char*>(src_host);
  while (bytes > 0) {
    const size_t size = std::min(bytes, kStagingBytes);
    StagingBuffer& buffer = staging_[next_staging_];
    next_staging_ = 1 - next_staging_;
    check(cudaEventSynchronize(buffer.free), "waiting for a copy to the GPU");
    copy_on_host(buffer.data, from, size);
    check(cudaMemcpyAsync(to, buffer.data, size, cudaMemcpyHostToDevice, stream_),
          "copying to the GPU");
    check(cudaEventRecord(buffer.free, stream_), "copying to the GPU");
    to += size;
    from += size;
    bytes -= size;
  }
}

void CudaDevice::copy_to_host(void* dst_host, const void* src, size_t bytes) {
  if (bytes == 0) return synchronize();
  StagingBuffer& buffer = staging_[next_staging_];
  const bool small = bytes <= kStagingBytes;
  if (small) check(cudaEventSynchronize(buffer.free), "waiting for a copy to the GPU");
  check(cudaMemcpyAsync(small ? buffer.data : dst_host, src, bytes, cudaMemcpyDeviceToHost, stream_),
        "copying from the GPU");
  synchronize();
  if (small) std::memcpy(dst_host, buffer.data, bytes);
}

void CudaDevice::copy(void* dst, const void* src, size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream_), "copying on the GPU");
}

void CudaDevice::fill_zero(void* dst, size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemsetAsync(dst, 0, bytes, stream_), "clearing GPU memory");
}

void CudaDevice::synchronize() { check(cudaStreamSynchronize(stream_), "work on the GPU"); }

void CudaDevice::make_current() {
  check_not_lost("selecting the GPU");
  check(cudaSetDevice(ordinal_), "selecting the GPU");
}

DeviceMemory CudaDevice::memory() const { return device_memory(); }

int64_t CudaDevice::workspace_bytes() const {
  return static_cast<int64_t>(kBlasWorkspaceBytes + scratch_bytes_) +
         num_tickets_ * static_cast<int64_t>(sizeof(unsigned));
}

void* CudaDevice::scratch(size_t bytes) {
  if (bytes <= scratch_bytes_) return scratch_;
  synchronize();
  if (scratch_ != nullptr) check(cudaFree(scratch_), "releasing GPU memory");
  scratch_ = nullptr;
  scratch_bytes_ = 0;
  ++memory_version_;
  scratch_ = allocate_bytes(bytes);
  scratch_bytes_ = bytes;
  return scratch_;
}

unsigned* CudaDevice::tickets(int64_t count) {
  if (count <= num_tickets_) return tickets_;
  synchronize();
  if (tickets_ != nullptr) check(cudaFree(tickets_), "releasing GPU memory");
  tickets_ = nullptr;
  num_tickets_ = 0;
  ++memory_version_;
  count = std::max<int64_t>(count, 1024);
  const size_t bytes = size_t(count) * sizeof(unsigned);
  tickets_ = static_cast<unsigned*>(allocate_bytes(bytes));
  num_tickets_ = count;
  fill_zero(tickets_, bytes);
  return tickets_;
}

// ---- graphs -------------------------------------------------------------------------------------

namespace {

struct GraphRecording final : Device::Recording {
  explicit GraphRecording(uint64_t version) : memory_version(version) {}
  ~GraphRecording() override {
    if (graph != nullptr) cudaGraphExecDestroy(graph);
  }
  const uint64_t memory_version;
  cudaGraphExec_t graph = nullptr;  // null until the second run
};

}  // namespace

cudaGraphExec_t CudaDevice::capture(const std::function<void()>& work) {
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a CUDA graph");
  cudaGraph_t graph = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream_, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream_, &graph), "recording a CUDA graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiating a CUDA graph");
  return executable;
}

void CudaDevice::run(std::unique_ptr<Recording>& recording, const std::function<void()>& work) {
  auto* const known = static_cast<GraphRecording*>(recording.get());
  if (known == nullptr || known->memory_version != memory_version_) {
    recording.reset();
    work();
    recording.reset(new GraphRecording(memory_version_));
    return;
  }
  if (known->graph == nullptr) known->graph = capture(work);
  check(cudaGraphLaunch(known->graph, stream_), "launching a CUDA graph");
}

}  // namespace cuda

std::unique_ptr<Device> Device::create(const DeviceOptions& options) {
  return std::unique_ptr<Device>(new cuda::CudaDevice(options.ordinal));
}

std::string Device::describe() {
  const int ordinal = 0;
  cuda::check_usable(ordinal);
  cuda::check(cudaSetDevice(ordinal), "selecting the GPU");
  cuda::check_has_code(ordinal);
  const DeviceMemory memory = cuda::device_memory();
  const int capability = cuda::capability_of(ordinal);
  std::ostringstream json;
  json << "{\"backend\":\"cuda\",\"version\":\"" << QLORA_VERSION << "\",\"device\":\""
       << cuda::json_escape(cuda::name_of(ordinal)) << "\",\"compute_capability\":\""
       << capability / 10 << "." << capability % 10 << "\",\"multiprocessors\":"
       << cuda::attribute(cudaDevAttrMultiProcessorCount, ordinal)
       << ",\"architectures\":\"" QLORA_ARCHITECTURES "\",\"gpus\":" << cuda::count_devices() << ",\"driver_cuda_version\":\""
       << cuda::version_text(cuda::driver_version()) << "\",\"runtime_cuda_version\":\""
       << cuda::version_text(cuda::runtime_version())
       << "\",\"cublaslt_version\":" << cublasLtGetVersion()
       << ",\"memory_bytes\":" << memory.total_bytes
       << ",\"memory_free_bytes\":" << memory.free_bytes << "}";
  return json.str();
}

}  // namespace qlora
