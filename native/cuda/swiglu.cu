// SwiGLU.  σ(x) = 1 / (1 + e⁻ˣ),  silu(x) = x · σ(x)
//   forward:  out = silu(gate) · up
//   backward: dup = dout · silu(gate),  dgate = dout · up · σ · (1 + gate · (1 − σ))
#include "common.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

__device__ inline float sigmoid(float x) { return 1.0f / (1.0f + __expf(-x)); }

template <bool kAligned>
__global__ void swiglu_forward_kernel(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T,
                                      int64_t F) {
  const int64_t c = group_column();
  if (c >= F) return;
  for (int64_t t = first_row(); t < T; t += row_stride()) {
    const act_t* const row = gate_up + t * 2 * F;
    const Float8 gate = load_row8<kAligned>(row, c, F), up = load_row8<kAligned>(row + F, c, F);
    Float8 y;
#pragma unroll
    for (int i = 0; i < 8; ++i) y.v[i] = gate.v[i] * sigmoid(gate.v[i]) * up.v[i];
    store_row8<kAligned>(out + t * ld_out, c, F, y);
  }
}

template <bool kAligned>
__global__ void swiglu_backward_kernel(act_t* gate_up, const act_t* dout, int64_t ld_dout,
                                       int64_t T, int64_t F) {
  const int64_t c = group_column();
  if (c >= F) return;
  for (int64_t t = first_row(); t < T; t += row_stride()) {
    act_t* const row = gate_up + t * 2 * F;
    Float8 gate = load_row8<kAligned>(row, c, F), up = load_row8<kAligned>(row + F, c, F);
    const Float8 d = load_row8<kAligned>(dout + t * ld_dout, c, F);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float g = gate.v[i], sigma = sigmoid(g);
      gate.v[i] = d.v[i] * up.v[i] * sigma * (1.0f + g * (1.0f - sigma));
      up.v[i] = d.v[i] * g * sigma;
    }
    store_row8<kAligned>(row, c, F, gate);
    store_row8<kAligned>(row + F, c, F, up);
  }
}

}  // namespace
}  // namespace cuda

void ops::swiglu_forward(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F,
                         Device& d) {
  if (T <= 0 || F <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(T, F);
  const auto kernel = cuda::rows_aligned(out, ld_out) && cuda::rows_aligned(gate_up, F)
                          ? cuda::swiglu_forward_kernel<true>
                          : cuda::swiglu_forward_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(out, ld_out, gate_up, T, F);
  cuda::check_launch("swiglu_forward");
}

void ops::swiglu_backward(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T, int64_t F,
                          Device& d) {
  if (T <= 0 || F <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(T, F);
  const auto kernel = cuda::rows_aligned(dout, ld_dout) && cuda::rows_aligned(gate_up, F)
                          ? cuda::swiglu_backward_kernel<true>
                          : cuda::swiglu_backward_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(gate_up, dout, ld_dout, T, F);
  cuda::check_launch("swiglu_backward");
}

}  // namespace qlora
