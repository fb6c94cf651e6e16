// rope: rotary position embedding, Hugging Face's half-split layout, in place. With h = D / 2, the
// pair (x[i], x[i + h]) turns by the angle of (position, i):
//   x[i] ← x[i] · cos − x[i + h] · sin,  x[i + h] ← x[i + h] · cos + x[i] · sin
// The backward pass turns the other way. Bound by memory: a thread turns the same eight pairs of
// kHeads heads of a token, by one reading of the table, all loads first.
#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kHeads = 4;

// A token takes groups · slots threads: a slot of kHeads heads, a group of eight pairs.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads, 2)
    rope_kernel(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos,
                const float* sin, int64_t T, int heads, int half, int groups, int slots,
                float sign) {
  // Threads of the block count from its first token on: small numbers, cheap to divide.
  const int per_token = groups * slots;
  const int64_t start = int64_t{blockIdx.x} * kThreads, first_token = start / per_token;
  const unsigned item = static_cast<unsigned>(start - first_token * per_token) + threadIdx.x;
  const int64_t token = first_token + item / per_token;
  if (token >= T) return;
  const int own = static_cast<int>(item % per_token);
  const int head = own / groups * kHeads, first = own % groups * 8;
  act_t* const row = qkv + token * ld + int64_t{head} * 2 * half;
  Float8 x[kHeads], y[kHeads];
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (head + h >= heads) continue;
    x[h] = load_whole8<kWhole>(row + h * 2 * half, first, half);
    y[h] = load_whole8<kWhole>(row + h * 2 * half + half, first, half);
  }
  const int64_t angles = int64_t{positions[token]} * half;
  const Float8 cosine = load_whole8<kWhole>(cos + angles, first, half);
  Float8 sine = load_whole8<kWhole>(sin + angles, first, half);
#pragma unroll
  for (int i = 0; i < 8; ++i) sine.v[i] *= sign;
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (head + h >= heads) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float from_x = x[h].v[i], from_y = y[h].v[i];
      x[h].v[i] = from_x * cosine.v[i] - from_y * sine.v[i];
      y[h].v[i] = from_y * cosine.v[i] + from_x * sine.v[i];
    }
    store_whole8<kWhole>(row + h * 2 * half, first, half, x[h]);
    store_whole8<kWhole>(row + h * 2 * half + half, first, half, y[h]);
  }
}

}  // namespace
}  // namespace cuda

void ops::rope(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos, const float* sin,
               int64_t T, int64_t Q, int64_t G, int64_t D, bool inverse, Device& d) {
  const int64_t half = D / 2, heads = Q + G;
  if (T <= 0 || half <= 0 || heads <= 0) return;
  const int64_t groups = cuda::ceil_div(half, 8), slots = cuda::ceil_div(heads, cuda::kHeads);
  const bool whole = half % 8 == 0 && cuda::rows_aligned(qkv, ld) &&
                     cuda::rows_aligned(cos, half) && cuda::rows_aligned(sin, half);
  const auto kernel = whole ? cuda::rope_kernel<true> : cuda::rope_kernel<false>;
  const unsigned blocks = static_cast<unsigned>(cuda::ceil_div(T * groups * slots, cuda::kThreads));
  kernel<<<blocks, cuda::kThreads, 0, cuda::cuda_device(d).stream()>>>(
      qkv, ld, positions, cos, sin, T, static_cast<int>(heads), static_cast<int>(half),
      static_cast<int>(groups), static_cast<int>(slots), inverse ? -1.0f : 1.0f);
  cuda::check_launch("rope");
}

}  // namespace qlora
