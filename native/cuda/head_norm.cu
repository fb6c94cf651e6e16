// Per-head RMSNorm of q and k, in place; a warp a head.
//   forward:  rstd = 1 / √(mean(x²) + eps),  y = x · rstd · weight
//   backward: x̂ = y / weight,  dx = rstd · (dy · weight − x̂ · mean(dy · y))
// x itself is gone, so x̂ comes from y; where a weight is exactly 0, x̂ counts as 0.
#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

// This warp's head among T · count, or false.
__device__ bool find_head(int64_t& token, int64_t& head, int64_t T, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * (kThreads / kWarp) + threadIdx.x / kWarp;
  token = i / count;
  head = i % count;
  return token < T;
}

__global__ void __launch_bounds__(kThreads)
    head_norm_forward_kernel(act_t* qkv, int64_t ld, float* rstd, const float* weight, int64_t T,
                             int64_t first, int64_t count, int64_t D, float eps) {
  int64_t token, head;
  if (!find_head(token, head, T, count)) return;
  act_t* const x = qkv + token * ld + (first + head) * D;
  const int lane = threadIdx.x % kWarp;
  float squares = 0.0f;
  for (int64_t c = lane; c < D; c += kWarp) squares += to_float(x[c]) * to_float(x[c]);
  const float scale = 1.0f / sqrtf(warp_sum(squares) / static_cast<float>(D) + eps);
  if (rstd != nullptr && lane == 0) rstd[token * count + head] = scale;
  for (int64_t c = lane; c < D; c += kWarp) {
    x[c] = from_float<act_t>(to_float(x[c]) * scale * weight[c]);
  }
}

__global__ void __launch_bounds__(kThreads)
    head_norm_backward_kernel(act_t* dqkv, int64_t ld, const act_t* y, int64_t ldy,
                              const float* rstd, const float* weight, int64_t T, int64_t first,
                              int64_t count, int64_t D) {
  int64_t token, head;
  if (!find_head(token, head, T, count)) return;
  act_t* const grad = dqkv + token * ld + (first + head) * D;
  const act_t* const out = y + token * ldy + (first + head) * D;
  const int lane = threadIdx.x % kWarp;
  float dot = 0.0f;
  for (int64_t c = lane; c < D; c += kWarp) dot += to_float(grad[c]) * to_float(out[c]);
  const float mean = warp_sum(dot) / static_cast<float>(D);
  const float scale = rstd[token * count + head];
  for (int64_t c = lane; c < D; c += kWarp) {
    const float w = weight[c];
    const float normal = w != 0.0f ? to_float(out[c]) / w : 0.0f;
    grad[c] = from_float<act_t>(scale * (to_float(grad[c]) * w - normal * mean));
  }
}

unsigned head_blocks(int64_t T, int64_t count) {
  return static_cast<unsigned>(ceil_div(T * count, kThreads / kWarp));
}

}  // namespace
}  // namespace cuda

void ops::head_norm_forward(act_t* qkv, int64_t ld, float* rstd, const float* weight, int64_t T,
                            int64_t first, int64_t count, int64_t D, float eps, Device& d) {
  if (T <= 0 || count <= 0) return;
  cuda::head_norm_forward_kernel<<<cuda::head_blocks(T, count), cuda::kThreads, 0,
                                   cuda::cuda_device(d).stream()>>>(qkv, ld, rstd, weight, T, first,
                                                                    count, D, eps);
  cuda::check_launch("head_norm_forward");
}

void ops::head_norm_backward(act_t* dqkv, int64_t ld, const act_t* y, int64_t ldy,
                             const float* rstd, const float* weight, int64_t T, int64_t first,
                             int64_t count, int64_t D, Device& d) {
  if (T <= 0 || count <= 0) return;
  cuda::head_norm_backward_kernel<<<cuda::head_blocks(T, count), cuda::kThreads, 0,
                                    cuda::cuda_device(d).stream()>>>(dqkv, ld, y, ldy, rstd, weight,
                                                                     T, first, count, D);
  cuda::check_launch("head_norm_backward");
}

}  // namespace qlora
