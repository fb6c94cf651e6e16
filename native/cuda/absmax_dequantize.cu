// absmax_dequantize: absmax[i] = map[codes[i]] · absmax2[i / 256] + offset, product and sum rounded
// apart, as bitsandbytes does.
#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

__global__ void __launch_bounds__(kAbsmaxBlock)
    absmax_dequantize_kernel(float* absmax, const uint8_t* codes, const float* absmax2,
                             float offset, int64_t count, const __grid_constant__ DynamicMap map) {
  __shared__ float entries[256];
  entries[threadIdx.x] = map.value[threadIdx.x];
  __syncthreads();
  const int64_t i = int64_t{blockIdx.x} * kAbsmaxBlock + threadIdx.x;
  if (i >= count) return;
  absmax[i] = __fadd_rn(__fmul_rn(entries[codes[i]], absmax2[blockIdx.x]), offset);
}

}  // namespace
}  // namespace cuda

void ops::absmax_dequantize(float* absmax, const uint8_t* codes, const float* absmax2, float offset,
                            int64_t count, Device& d) {
  if (count <= 0) return;
  const unsigned blocks = static_cast<unsigned>(cuda::ceil_div(count, cuda::kAbsmaxBlock));
  cuda::absmax_dequantize_kernel<<<blocks, cuda::kAbsmaxBlock, 0, cuda::cuda_device(d).stream()>>>(
      absmax, codes, absmax2, offset, count, cuda::dynamic_map());
  cuda::check_launch("absmax_dequantize");
}

}  // namespace qlora
