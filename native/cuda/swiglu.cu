// SwiGLU.  σ(x) = 1 / (1 + e⁻ˣ),  silu(x) = x · σ(x)
//   forward:  out = silu(gate) · up
//   backward: dup = dout · silu(gate),  dgate = dout · up · σ · (1 + gate · (1 − σ))
// Bound by memory: a thread takes eight columns of kRows rows, all loads first.
#include "common.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kRows = 2;

// Two special-function instructions; e⁻ˣ beyond fp32 is ∞, and σ then 0.
__device__ inline float sigmoid(float x) {
  float power, inverse;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x * -1.4426950408889634f));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(inverse) : "f"(1.0f + power));
  return inverse;
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    swiglu_forward_kernel(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F) {
  let_next_begin();
  await_previous();
  const int64_t c = group_column();
  if (c >= F) return;
  for (int64_t begin = first_row(kRows); begin < T; begin += row_stride(kRows)) {
    Float8 gate[kRows], up[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (begin + r >= T) continue;
      const act_t* const row = gate_up + (begin + r) * 2 * F;
      gate[r] = load_whole8<kWhole>(row, c, F);
      up[r] = load_whole8<kWhole>(row + F, c, F);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (begin + r >= T) continue;
      Float8 y;
#pragma unroll
      for (int i = 0; i < 8; ++i) y.v[i] = gate[r].v[i] * sigmoid(gate[r].v[i]) * up[r].v[i];
      store_whole8<kWhole>(out + (begin + r) * ld_out, c, F, y);
    }
  }
}

template <bool kWhole>
__global__ void __launch_bounds__(kThreads)
    swiglu_backward_kernel(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T,
                           int64_t F) {
  const int64_t c = group_column();
  if (c >= F) return;
  for (int64_t begin = first_row(kRows); begin < T; begin += row_stride(kRows)) {
    Float8 gate[kRows], up[kRows], d[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (begin + r >= T) continue;
      const act_t* const row = gate_up + (begin + r) * 2 * F;
      gate[r] = load_whole8<kWhole>(row, c, F);
      up[r] = load_whole8<kWhole>(row + F, c, F);
      d[r] = load_whole8<kWhole>(dout + (begin + r) * ld_dout, c, F);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (begin + r >= T) continue;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const float g = gate[r].v[i], sigma = sigmoid(g), silu = g * sigma;
        gate[r].v[i] = d[r].v[i] * up[r].v[i] * (sigma + silu * (1.0f - sigma));
        up[r].v[i] = d[r].v[i] * silu;
      }
      act_t* const row = gate_up + (begin + r) * 2 * F;
      store_whole8<kWhole>(row, c, F, gate[r]);
      store_whole8<kWhole>(row + F, c, F, up[r]);
    }
  }
}

}  // namespace
}  // namespace cuda

void ops::swiglu_forward(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F,
                         Device& d) {
  if (T <= 0 || F <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(T, F, cuda::kRows);
  const auto kernel = cuda::rows_aligned(out, ld_out) && cuda::rows_aligned(gate_up, F)
                          ? cuda::swiglu_forward_kernel<true>
                          : cuda::swiglu_forward_kernel<false>;
  cuda::launch_early(kernel, g.grid, g.block, 0, cuda::cuda_device(d), out, ld_out, gate_up, T, F);
  cuda::check_launch("swiglu_forward");
}

void ops::swiglu_backward(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T, int64_t F,
                          Device& d) {
  if (T <= 0 || F <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(T, F, cuda::kRows);
  const auto kernel = cuda::rows_aligned(dout, ld_dout) && cuda::rows_aligned(gate_up, F)
                          ? cuda::swiglu_backward_kernel<true>
                          : cuda::swiglu_backward_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(gate_up, dout, ld_dout, T, F);
  cuda::check_launch("swiglu_backward");
}

}  // namespace qlora
