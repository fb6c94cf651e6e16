// probe_code: a library compiled for other GPUs loads and describes itself, and fails at the first
// kernel; this asks for a kernel's attributes, which needs its code, before there is work to lose.
#include "cuda_device.h"

namespace qlora {
namespace cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace

cudaError_t probe_code() {
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, probe_kernel);
}

}  // namespace cuda
}  // namespace qlora
