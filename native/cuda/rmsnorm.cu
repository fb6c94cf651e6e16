// RMSNorm, fused with the residual addition before it.
//   forward:  x = residual + delta,  rstd = 1 / √(mean(x²) + eps),  out = x · rstd · weight
//   backward: g = dout · weight,  dresidual += rstd · (g − x · rstd² · mean(g · x))
// x is what sum holds, rounded to bf16: the backward pass and the next layer see the same numbers.
//
// A block a row. A thread keeps its first eight columns in registers, which is the whole row up to
// H = 8 · threads; of longer rows the rest is read a second time.
#include <type_traits>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

// The row's eight columns from c on: x, stored where there is a delta.
template <bool kAligned>
__device__ Float8 residual_sum(act_t* sum, const act_t* residual, const act_t* delta, int64_t c,
                               int64_t H) {
  Float8 x = load_row8<kAligned>(residual, c, H);
  if (delta == nullptr) return x;
  const Float8 more = load_row8<kAligned>(delta, c, H);
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = to_float(from_float<act_t>(x.v[i] + more.v[i]));
  store_row8<kAligned>(sum, c, H, x);
  return x;
}

template <bool kAligned>
__device__ void store_normed(act_t* out, const Float8& x, const float* weight, float rstd,
                             int64_t c, int64_t H) {
  const Float8 w = load_row8<kAligned>(weight, c, H);
  Float8 y;
#pragma unroll
  for (int i = 0; i < 8; ++i) y.v[i] = x.v[i] * rstd * w.v[i];
  store_row8<kAligned>(out, c, H, y);
}

template <int kBlock, bool kAligned>
__global__ void __launch_bounds__(kBlock)
    rmsnorm_forward_kernel(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                           const act_t* residual, const act_t* delta, const float* weight,
                           int64_t H, float eps) {
  const int64_t t = blockIdx.x;
  out += t * ld_out;
  residual += t * H;
  if (delta != nullptr) {
    delta += t * H;
    sum += t * H;
  }
  const int64_t first = int64_t{threadIdx.x} * 8;
  constexpr int64_t kStep = int64_t{kBlock} * 8;
  Float8 kept;
  float squares = 0.0f;
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 x = residual_sum<kAligned>(sum, residual, delta, c, H);
    if (c == first) kept = x;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares += x.v[i] * x.v[i];
  }
  const float mean = block_sum<kBlock>(squares) / static_cast<float>(H);
  const float scale = 1.0f / sqrtf(mean + eps);
  if (rstd != nullptr && threadIdx.x == 0) rstd[t] = scale;
  const act_t* const again = delta != nullptr ? sum : residual;
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 x = c == first ? kept : load_row8<kAligned>(again, c, H);
    store_normed<kAligned>(out, x, weight, scale, c, H);
  }
}

// g = dout · weight of eight columns.
template <bool kAligned>
__device__ Float8 weighted(const act_t* dout, const float* weight, int64_t c, int64_t H) {
  Float8 g = load_row8<kAligned>(dout, c, H);
  const Float8 w = load_row8<kAligned>(weight, c, H);
#pragma unroll
  for (int i = 0; i < 8; ++i) g.v[i] *= w.v[i];
  return g;
}

template <int kBlock, bool kAligned>
__global__ void __launch_bounds__(kBlock)
    rmsnorm_backward_kernel(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                            const float* rstd, const float* weight, int64_t H) {
  const int64_t t = blockIdx.x;
  dresidual += t * H;
  dout += t * ld_out;
  x += t * H;
  const float scale = rstd[t];
  const int64_t first = int64_t{threadIdx.x} * 8;
  constexpr int64_t kStep = int64_t{kBlock} * 8;
  Float8 kept_g, kept_x;
  float dot = 0.0f;
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 g = weighted<kAligned>(dout, weight, c, H);
    const Float8 v = load_row8<kAligned>(x, c, H);
    if (c == first) {
      kept_g = g;
      kept_x = v;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) dot += g.v[i] * v.v[i];
  }
  const float pull = scale * scale * (block_sum<kBlock>(dot) / static_cast<float>(H));
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 g = c == first ? kept_g : weighted<kAligned>(dout, weight, c, H);
    const Float8 v = c == first ? kept_x : load_row8<kAligned>(x, c, H);
    Float8 sum = load_row8<kAligned>(dresidual, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum.v[i] += scale * (g.v[i] - v.v[i] * pull);
    store_row8<kAligned>(dresidual, c, H, sum);
  }
}

// Calls launch with the smallest block size, as a compile-time number, that covers the row, and with
// whether all rows are aligned.
template <class Launch>
void for_block_size(int64_t H, bool aligned, const Launch& launch) {
  const auto with = [&](auto block) {
    if (aligned) {
      launch(block, std::true_type());
    } else {
      launch(block, std::false_type());
    }
  };
  if (H <= 64 * 8) return with(std::integral_constant<int, 64>());
  if (H <= 256 * 8) return with(std::integral_constant<int, 256>());
  if (H <= 512 * 8) return with(std::integral_constant<int, 512>());
  with(std::integral_constant<int, 1024>());
}

}  // namespace
}  // namespace cuda

void ops::rmsnorm_forward(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                          const act_t* residual, const act_t* delta, const float* weight, int64_t T,
                          int64_t H, float eps, Device& d) {
  if (T <= 0) return;
  const cudaStream_t stream = cuda::cuda_device(d).stream();
  const bool aligned = cuda::rows_aligned(out, ld_out) && cuda::rows_aligned(residual, H) &&
                       cuda::rows_aligned(delta, H) && cuda::rows_aligned(sum, H) &&
                       cuda::rows_aligned(weight, 8);
  cuda::for_block_size(H, aligned, [&](auto block, auto is_aligned) {
    cuda::rmsnorm_forward_kernel<block(), is_aligned()>
        <<<static_cast<unsigned>(T), block(), 0, stream>>>(out, ld_out, rstd, sum, residual, delta,
                                                           weight, H, eps);
  });
  cuda::check_launch("rmsnorm_forward");
}

void ops::rmsnorm_backward(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                           const float* rstd, const float* weight, int64_t T, int64_t H,
                           Device& d) {
  if (T <= 0) return;
  const cudaStream_t stream = cuda::cuda_device(d).stream();
  const bool aligned = cuda::rows_aligned(dout, ld_out) && cuda::rows_aligned(dresidual, H) &&
                       cuda::rows_aligned(x, H) && cuda::rows_aligned(weight, 8);
  cuda::for_block_size(H, aligned, [&](auto block, auto is_aligned) {
    cuda::rmsnorm_backward_kernel<block(), is_aligned()>
        <<<static_cast<unsigned>(T), block(), 0, stream>>>(dresidual, dout, ld_out, x, rstd, weight,
                                                           H);
  });
  cuda::check_launch("rmsnorm_backward");
}

}  // namespace qlora
