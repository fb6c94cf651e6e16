// The CUDA Device: one stream for the ops and one for copies beside them, one cuBLASLt handle with its
// workspace, pinned staging for copies, scratch memory for the ops. Ops reach it through
// cuda_device(d).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "ops.h"
#include "thread_pool.h"

struct cublasLtContext;  // what a cublasLtHandle_t points to; kernels compile without cuBLAS

namespace qlora {
namespace cuda {

// Throws Error unless status is success: out_of_memory for allocations, device otherwise. After an
// error that costs the process its GPU (an illegal access, say) every later check of an entry fails.
void check(cudaError_t status, const char* what);
// After a kernel launch: reports a bad launch shape at once; errors inside come with synchronize.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

// Whether the current GPU finds code in this library: machine code, or PTX its driver can compile; and
// for what it was written, 80 for compute_80: all kernels are the same there.
cudaError_t probe_code(int* virtual_architecture = nullptr);  // probe.cu

// Counters between LoRA's two products: decode_signal.cuh.
struct DecodeSignal {
  unsigned ready, done, finished;
};
struct GemmPlans;  // gemm.cpp: cuBLASLt's choice for each shape seen

struct StagingBuffer {
  void* data = nullptr;          // pinned host memory
  cudaEvent_t free = nullptr;    // the copy out of it is done
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  void* allocate(size_t bytes) override;
  void release(void* pointer) noexcept override;
  void* allocate_host(size_t bytes) override;
  void release_host(void* pointer) noexcept override;
  void copy_ahead(void* dst, const void* src, size_t bytes) override;
  void await_copies() override;
  // The source may be reused on return.
  void copy_to_device(void* dst, const void* src_host, size_t bytes) override;
  void copy_to_host(void* dst_host, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void fill_zero(void* dst, size_t bytes) override;
  void synchronize() override;
  void make_current() override;
  DeviceMemory memory() const override;
  // The first time as it is, so that everything has its memory; then as a CUDA graph.
  void run(std::unique_ptr<Recording>& recording, const std::function<void()>& work) override;
  bool records() const override { return true; }
  bool reads_nf4_faster(int64_t rows) const override;

  cudaStream_t stream() const { return stream_; }
  int sm_count() const { return sm_count_; }
  int max_shared_bytes() const { return max_shared_bytes_; }  // a block may ask for
  int compute_capability() const { return compute_capability_; }  // 90 for 9.0
  // Whether a kernel may begin before the one in front of it ends, and then wait: launch_early.
  bool launches_early() const { return launches_early_; }

  cublasLtContext* blas() const { return blas_; }
  void* blas_workspace() const { return blas_workspace_; }
  static constexpr size_t kBlasWorkspaceBytes = size_t{32} << 20;
  GemmPlans& gemm_plans() { return *gemm_plans_; }

  // Scratch of one op, at least `bytes`, 256-byte aligned; the next op may overwrite it. It grows
  // when an op asks for more than any before, and counts in the overhead.
  void* scratch(size_t bytes);
  // At least `count` counters, 0 before and after every op: blocks of one kernel count themselves
  // with them, to know which is the last.
  unsigned* tickets(int64_t count);
  DecodeSignal* next_signal();
  // Scratch there is from the start: enough for every op whose need does not grow with its sizes.
  static constexpr size_t kLeastScratchBytes = size_t{1} << 20;

 private:
  void destroy() noexcept;
  cudaGraphExec_t capture(const std::function<void()>& work);
  // Host memory to host memory, by several threads: one alone does not fill the bus to the GPU.
  void copy_on_host(void* dst, const void* src, size_t bytes);
  // Whether an address lies in memory of allocate_host.
  bool on_host(const void* pointer) const;

  int ordinal_;
  int sm_count_ = 0, max_shared_bytes_ = 0, compute_capability_ = 0;
  bool launches_early_ = false;
  int64_t context_bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaStream_t copy_stream_ = nullptr;   // made with the first copy beside the ops
  cudaEvent_t queued_ = nullptr;         // what was queued before such a copy is done
  cudaEvent_t copied_ = nullptr;         // the copy is done
  std::map<const char*, size_t> host_blocks_;  // of allocate_host: begin, bytes
  cublasLtContext* blas_ = nullptr;
  void* blas_workspace_ = nullptr;
  void* scratch_ = nullptr;
  size_t scratch_bytes_ = 0;
  uint64_t memory_version_ = 0;  // counts moves of scratch and tickets: graphs hold their addresses
  unsigned* tickets_ = nullptr;
  int64_t num_tickets_ = 0;
  static constexpr int kSignals = 1024;
  DecodeSignal* signals_ = nullptr;  // made with the first; never moves
  int next_signal_ = 0;
  static constexpr size_t kStagingBytes = size_t{8} << 20;
  StagingBuffer staging_[2];
  int next_staging_ = 0;
  std::unique_ptr<ThreadPool> copiers_;  // fill the staging; made with the first large copy
  std::unique_ptr<GemmPlans> gemm_plans_;
};

// Whether the device has Hopper's warpgroup products, and this build code of sm_90a for it.
bool can_run_hopper(const CudaDevice& device);  // attention_forward_hopper.cu

inline CudaDevice& cuda_device(Device& d) { return static_cast<CudaDevice&>(d); }

}  // namespace cuda
}  // namespace qlora
