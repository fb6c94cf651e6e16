// absmax_quantize: double quantisation. offset = mean(absmax); per block of 256 values
// absmax2 = max |absmax − offset|, code = the entry of the dynamic map nearest to
// (absmax − offset) / absmax2, found as bitsandbytes finds it on a CPU: the quotient is rounded to
// one of 65,536 evenly spaced points of [−1, 1] first, and of two entries equally near the lower one
// is taken. Differences, products and quotients are rounded as written.
#include <algorithm>

#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kSumThreads = 256;
constexpr int kMostParts = 1024;

// parts[b] = Σ of the b-th stretch, in double.
__global__ void __launch_bounds__(kSumThreads)
    sum_parts_kernel(double* parts, const float* x, int64_t count) {
  const int64_t begin = count * blockIdx.x / gridDim.x, end = count * (blockIdx.x + 1) / gridDim.x;
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kSumThreads) sum += double(x[i]);
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kSumThreads)
    mean_kernel(float* mean, const double* parts, int num_parts, int64_t count) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < num_parts; i += kSumThreads) sum += parts[i];
  sum = block_sum<kSumThreads>(sum);
  if (threadIdx.x == 0) *mean = static_cast<float>(sum / static_cast<double>(count));
}

// map: shared memory.
__device__ uint8_t encode(float x, const float* map) {
  const float half = __fmul_rn(__fadd_rn(x, 1.0f), 0.5f);
  float point = floorf(__fadd_rn(__fmul_rn(half, 65535.0f), 0.5f));
  if (!(point > 0.0f)) point = 0.0f;  // NaN too
  point = fminf(point, 65535.0f);
  const float y = __fadd_rn(-1.0f, __fmul_rn(2.0f, __fdiv_rn(point, 65535.0f)));
  int code = 0;  // the last entry ≤ y, or the first
#pragma unroll
  for (int step = 128; step > 0; step /= 2) {
    if (map[code + step] <= y) code += step;
  }
  if (code < 255 && fabsf(__fsub_rn(map[code + 1], y)) < fabsf(__fsub_rn(y, map[code]))) ++code;
  return static_cast<uint8_t>(code);
}

__global__ void __launch_bounds__(kAbsmaxBlock)
    quantize_kernel(uint8_t* codes, float* absmax2, const float* absmax, int64_t count,
                    float offset, const __grid_constant__ DynamicMap map) {
  __shared__ float entries[256];
  entries[threadIdx.x] = map.value[threadIdx.x];
  const int64_t i = int64_t{blockIdx.x} * kAbsmaxBlock + threadIdx.x;
  const float difference = i < count ? __fsub_rn(absmax[i], offset) : 0.0f;
  const float largest = block_max<kAbsmaxBlock>(fabsf(difference));  // also waits for the map
  if (i >= count) return;
  if (threadIdx.x == 0) absmax2[blockIdx.x] = largest;
  codes[i] = encode(__fdiv_rn(difference, largest), entries);  // 0 / 0 takes code 0
}

}  // namespace
}  // namespace cuda

void ops::absmax_quantize(uint8_t* codes, float* absmax2, float* offset_host, const float* absmax,
                          int64_t count, Device& d) {
  if (count <= 0) {
    *offset_host = 0.0f;
    return;
  }
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const int num_parts =
      static_cast<int>(std::min<int64_t>(cuda::kMostParts, cuda::ceil_div(count, 1024)));
  double* const parts =
      static_cast<double*>(device.scratch((cuda::kMostParts + 1) * sizeof(double)));
  float* const mean = reinterpret_cast<float*>(parts + cuda::kMostParts);
  cuda::sum_parts_kernel<<<num_parts, cuda::kSumThreads, 0, device.stream()>>>(parts, absmax,
                                                                               count);
  cuda::check_launch("absmax_quantize sum");
  cuda::mean_kernel<<<1, cuda::kSumThreads, 0, device.stream()>>>(mean, parts, num_parts, count);
  cuda::check_launch("absmax_quantize mean");
  device.copy_to_host(offset_host, mean, sizeof(float));
  const unsigned blocks = static_cast<unsigned>(cuda::ceil_div(count, cuda::kAbsmaxBlock));
  cuda::quantize_kernel<<<blocks, cuda::kAbsmaxBlock, 0, device.stream()>>>(
      codes, absmax2, absmax, count, *offset_host, cuda::dynamic_map());
  cuda::check_launch("absmax_quantize");
}

}  // namespace qlora
