// CUDA's Device: create, memory, copies, description.
#include <cublasLt.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>

#include "cuda_device.h"
#include "driver_memory.h"
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

// Makes the GPU current, which creates this process's context on it, and returns what the context
// takes of its memory: the difference the driver saw when the context was made here.
int64_t open_context(int ordinal) {
  // Where the driver cannot say (no NVML) or the context was here before us: what contexts of CUDA
  // 12 and 13 take on GPUs from Ampere to Hopper.
  constexpr int64_t kTypicalBytes = int64_t{512} << 20;
  constexpr int64_t kLeastBytes = int64_t{64} << 20;
  static std::mutex mutex;
  static std::map<int, int64_t> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(ordinal);
  if (found != known.end()) {
    check(cudaSetDevice(ordinal), "selecting the GPU");
    return found->second;
  }
  const int64_t before = driver_used_bytes(ordinal);
  check(cudaSetDevice(ordinal), "selecting the GPU");
  check(cudaFree(nullptr), "starting CUDA on the GPU");
  const int64_t after = driver_used_bytes(ordinal);
  const bool measured = before >= 0 && after - before >= kLeastBytes;
  return known[ordinal] = measured ? after - before : kTypicalBytes;
}

// overhead_bytes: 0.
DeviceMemory device_memory() {
  size_t free_bytes = 0, total_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for the GPU's memory");
  return {static_cast<int64_t>(total_bytes), static_cast<int64_t>(free_bytes), 0};
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
  context_bytes_ = open_context(ordinal);
  check_has_code(ordinal);
  sm_count_ = attribute(cudaDevAttrMultiProcessorCount, ordinal);
  max_shared_bytes_ = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
  compute_capability_ = capability_of(ordinal);
  int virtual_architecture = 0;
  check(probe_code(&virtual_architecture), "asking for a kernel's attributes");
  launches_early_ = compute_capability_ >= 90 && virtual_architecture >= 90;
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
    scratch(kLeastScratchBytes);
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
  if (signals_ != nullptr) cudaFree(signals_);
  if (scratch_ != nullptr) cudaFree(scratch_);
  if (blas_workspace_ != nullptr) cudaFree(blas_workspace_);
  if (blas_ != nullptr) cublasLtDestroy(blas_);
  if (queued_ != nullptr) cudaEventDestroy(queued_);
  if (copied_ != nullptr) cudaEventDestroy(copied_);
  if (copy_stream_ != nullptr) cudaStreamDestroy(copy_stream_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  scratch_ = blas_workspace_ = nullptr;
  tickets_ = nullptr;
  signals_ = nullptr;
  blas_ = nullptr;
  queued_ = copied_ = nullptr;
  stream_ = copy_stream_ = nullptr;
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

// Pinned and mapped: under unified addressing the GPU uses the same pointer.
void* CudaDevice::allocate_host(size_t bytes) {
  void* pointer = nullptr;
  const cudaError_t status = cudaHostAlloc(&pointer, bytes > 0 ? bytes : 1, cudaHostAllocMapped);
  if (status != cudaSuccess) {
    cudaGetLastError();
    throw Error(QLORA_ERROR_OUT_OF_MEMORY,
                "the host could not give " + std::to_string(bytes) +
                    " bytes of pinned memory to the GPU (" + cudaGetErrorName(status) +
                    "); free host memory, or keep these tensors on the GPU");
  }
  host_blocks_[static_cast<const char*>(pointer)] = bytes;
  return pointer;
}

void CudaDevice::release_host(void* pointer) noexcept {
  host_blocks_.erase(static_cast<const char*>(pointer));
  cudaFreeHost(pointer);
  cudaGetLastError();
}

bool CudaDevice::on_host(const void* pointer) const {
  if (host_blocks_.empty()) return false;
  const char* const address = static_cast<const char*>(pointer);
  auto block = host_blocks_.upper_bound(address);
  if (block == host_blocks_.begin()) return false;
  --block;
  return address < block->first + block->second;
}

void CudaDevice::copy_ahead(void* dst, const void* src, size_t bytes) {
  if (copy_stream_ == nullptr) {
    check(cudaStreamCreateWithFlags(&copy_stream_, cudaStreamNonBlocking), "creating a stream");
    check(cudaEventCreateWithFlags(&queued_, cudaEventDisableTiming), "creating an event");
    check(cudaEventCreateWithFlags(&copied_, cudaEventDisableTiming), "creating an event");
  }
  check(cudaEventRecord(queued_, stream_), "copying ahead");
  check(cudaStreamWaitEvent(copy_stream_, queued_, 0), "copying ahead");
  if (bytes > 0) {
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, copy_stream_), "copying ahead");
  }
  check(cudaEventRecord(copied_, copy_stream_), "copying ahead");
}

void CudaDevice::await_copies() {
  if (copied_ != nullptr) check(cudaStreamWaitEvent(stream_, copied_, 0), "copying ahead");
}

// Through two pinned buffers in turn: one is filled while the other is copied.
void CudaDevice::copy_to_device(void* dst, const void* src_host, size_t bytes) {
  if (on_host(dst)) {
    synchronize();
    if (bytes > 0) std::memcpy(dst, src_host, bytes);
    return;
  }
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
  if (on_host(src)) {
    synchronize();
    std::memcpy(dst_host, src, bytes);
    return;
  }
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
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDefault, stream_), "copying on the GPU");
}

void CudaDevice::fill_zero(void* dst, size_t bytes) {
  if (bytes == 0) return;
  if (on_host(dst)) {
    synchronize();
    std::memset(dst, 0, bytes);
    return;
  }
  check(cudaMemsetAsync(dst, 0, bytes, stream_), "clearing GPU memory");
}

void CudaDevice::synchronize() { check(cudaStreamSynchronize(stream_), "work on the GPU"); }

void CudaDevice::make_current() {
  check_not_lost("selecting the GPU");
  check(cudaSetDevice(ordinal_), "selecting the GPU");
}

DeviceMemory CudaDevice::memory() const {
  DeviceMemory memory = device_memory();
  memory.overhead_bytes = context_bytes_ +
                          static_cast<int64_t>(kBlasWorkspaceBytes + scratch_bytes_) +
                          num_tickets_ * static_cast<int64_t>(sizeof(unsigned)) +
                          (signals_ == nullptr ? 0 : kSignals * int64_t{sizeof(DecodeSignal)});
  return memory;
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

DecodeSignal* CudaDevice::next_signal() {
  if (signals_ == nullptr) {
    constexpr size_t kBytes = kSignals * sizeof(DecodeSignal);
    signals_ = static_cast<DecodeSignal*>(allocate_bytes(kBytes));
    fill_zero(signals_, kBytes);
  }
  next_signal_ = (next_signal_ + 1) % kSignals;
  return signals_ + next_signal_;
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

// Few rows wait for the weights' bytes alone; more wait for the conversion as well, which Hopper's
// products leave the time for as far as one launch goes.
bool CudaDevice::reads_nf4_faster(int64_t rows) const {
  return rows <= (can_run_hopper(*this) ? 64 : 16);
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

DeviceMemory Device::expected_memory(const DeviceOptions& options) {
  using cuda::CudaDevice;
  cuda::check_usable(options.ordinal);
  const int64_t context = cuda::open_context(options.ordinal);
  cuda::check_has_code(options.ordinal);
  const int64_t own =
      static_cast<int64_t>(CudaDevice::kBlasWorkspaceBytes + CudaDevice::kLeastScratchBytes);
  DeviceMemory memory = cuda::device_memory();
  memory.free_bytes = std::max<int64_t>(0, memory.free_bytes - own);
  memory.overhead_bytes = context + own;
  return memory;
}

std::string Device::describe() {
  const int ordinal = 0;
  cuda::check_usable(ordinal);
  cuda::open_context(ordinal);
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
