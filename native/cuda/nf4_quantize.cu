// nf4_quantize: per block of 64 values, absmax = max |v|, code = number of thresholds below
// v · (1 / absmax). A threshold is the midpoint of two neighbouring codes. In the short last block v
// is divided by absmax instead: bit for bit what bitsandbytes does on a CPU.
//
// Eight threads a block of 64, eight values a thread. Products and quotients are rounded as written.
#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr float kSmallest = 1e-38f;  // bitsandbytes divides by no less
constexpr int kTeam = 8;             // threads of one block of values

struct Thresholds {
  float value[15];
};

Thresholds thresholds() {
  Thresholds t;
  for (int i = 0; i < 15; ++i) t.value[i] = (kNf4[i] + kNf4[i + 1]) / 2.0f;
  return t;
}

// NaN becomes the last code, as a search through sorted thresholds gives it.
__device__ uint32_t encode(float x, const Thresholds& t) {
  uint32_t code = 0;
#pragma unroll
  for (int i = 0; i < 15; ++i) code += !(x <= t.value[i]);
  return code;
}

// Keeps NaN.
__device__ float clamp_unit(float x) { return x < -1.0f ? -1.0f : (x > 1.0f ? 1.0f : x); }

__device__ float team_max(float x) {
#pragma unroll
  for (int offset = kTeam / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

template <bool kAligned>
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(uint8_t* packed, float* absmax, const float* values, int64_t count,
                    Thresholds limits) {
  const int64_t block = first_item() / kTeam;
  const int64_t begin = block * kNf4Block, first = begin + threadIdx.x % kTeam * 8;
  const bool is_short = begin + kNf4Block > count;
  Float8 x;
  if (first < count) {
    x = load_row8<kAligned>(values, first, count);
  } else {
    for (int i = 0; i < 8; ++i) x.v[i] = 0.0f;
  }
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(x.v[i]));
  largest = team_max(largest);
  if (first >= count) return;
  const float divisor = fmaxf(largest, kSmallest);
  if (first == begin) absmax[block] = is_short ? divisor : largest;

  const float inverse = __fdiv_rn(1.0f, divisor);
  uint32_t word = 0;  // byte i: elements 2i (high nibble) and 2i + 1
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const float unit = is_short ? __fdiv_rn(x.v[i], divisor) : __fmul_rn(x.v[i], inverse);
    word |= encode(clamp_unit(unit), limits) << (i / 2 * 8 + (i % 2 == 0 ? 4 : 0));
  }
  const int64_t left = count - first;  // elements behind the end are 0: they fill an odd last byte
  if (left >= 8 && reinterpret_cast<uintptr_t>(packed) % 4 == 0) {
    *reinterpret_cast<uint32_t*>(packed + first / 2) = word;
  } else {
    for (int64_t i = 0; i < 4 && 2 * i < left; ++i) {
      packed[first / 2 + i] = static_cast<uint8_t>(word >> (8 * i));
    }
  }
}

}  // namespace
}  // namespace cuda

void ops::nf4_quantize(uint8_t* packed, float* absmax, const float* values, int64_t count,
                       Device& d) {
  if (count <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const int64_t blocks = cuda::ceil_div(count, cuda::kNf4Block);
  const unsigned grid = static_cast<unsigned>(cuda::ceil_div(blocks * cuda::kTeam, cuda::kThreads));
  const auto kernel = cuda::rows_aligned(values, 8) ? cuda::quantize_kernel<true>
                                                    : cuda::quantize_kernel<false>;
  kernel<<<grid, cuda::kThreads, 0, device.stream()>>>(packed, absmax, values, count,
                                                       cuda::thresholds());
  cuda::check_launch("nf4_quantize");
}

}  // namespace qlora
