// rope: rotary position embedding, Hugging Face's half-split layout, in place. With h = D / 2, the
// pair (x[i], x[i + h]) turns by the angle of (position, i):
//   x[i] ← x[i] · cos − x[i + h] · sin,  x[i + h] ← x[i + h] · cos + x[i] · sin
// The backward pass turns the other way. A block a token, eight pairs a thread at a time.
#include <algorithm>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

template <bool kAligned>
__global__ void rope_kernel(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos,
                            const float* sin, int heads, int half, float sign) {
  const int64_t token = blockIdx.x;
  const float* const c = cos + int64_t{positions[token]} * half;
  const float* const s = sin + int64_t{positions[token]} * half;
  const int groups = (half + 7) / 8;
  for (int item = threadIdx.x; item < heads * groups; item += blockDim.x) {
    const int head = item / groups, first = item % groups * 8;
    act_t* const low = qkv + token * ld + int64_t{head} * 2 * half;
    act_t* const high = low + half;
    const Float8 cosine = load_row8<kAligned>(c, first, half);
    const Float8 sine = load_row8<kAligned>(s, first, half);
    Float8 x = load_row8<kAligned>(low, first, half), y = load_row8<kAligned>(high, first, half);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float turn = sign * sine.v[i], from_x = x.v[i], from_y = y.v[i];
      x.v[i] = from_x * cosine.v[i] - from_y * turn;
      y.v[i] = from_y * cosine.v[i] + from_x * turn;
    }
    store_row8<kAligned>(low, first, half, x);
    store_row8<kAligned>(high, first, half, y);
  }
}

}  // namespace
}  // namespace cuda

void ops::rope(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos, const float* sin,
               int64_t T, int64_t Q, int64_t G, int64_t D, bool inverse, Device& d) {
  if (T <= 0) return;
  const int64_t half = D / 2, items = (Q + G) * cuda::ceil_div(half, 8);
  const bool aligned = half % 8 == 0 && cuda::rows_aligned(qkv, ld) &&
                       cuda::rows_aligned(cos, half) && cuda::rows_aligned(sin, half);
  const unsigned threads = static_cast<unsigned>(
      std::min<int64_t>(cuda::kThreads, cuda::ceil_div(items, cuda::kWarp) * cuda::kWarp));
  const auto kernel = aligned ? cuda::rope_kernel<true> : cuda::rope_kernel<false>;
  kernel<<<static_cast<unsigned>(T), threads, 0, cuda::cuda_device(d).stream()>>>(
      qkv, ld, positions, cos, sin, static_cast<int>(Q + G), static_cast<int>(half),
      inverse ? -1.0f : 1.0f);
  cuda::check_launch("rope");
}

}  // namespace qlora
