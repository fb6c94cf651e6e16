// probe_code: a library compiled for other GPUs loads and describes itself, and fails at the first
// kernel; this asks for a kernel's attributes, which needs its code, before there is work to lose.
#include "cuda_device.h"

namespace qlora {
namespace cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

cudaError_t probe_code(int* virtual_architecture) {
  cudaFuncAttributes attributes{};
  const cudaError_t status = cudaFuncGetAttributes(&attributes, probe_kernel);
  if (virtual_architecture != nullptr) *virtual_architecture = attributes.ptxVersion;
  return status;
}

}  // namespace cuda
}  // namespace qlora
