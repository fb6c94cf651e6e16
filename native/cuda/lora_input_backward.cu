// lora_input_backward: dA += dUᵀ · drop(X), dX += drop'(dU · A).
//
// Up to kMostRanks ranks: one kernel, X and dX read once, dX written once, the mask drawn once (see
// lora_gradient.cuh). More ranks: dA in passes over them; dU · A is one product then, so that dX is
// rounded once, a piece of the tokens at a time, and a kernel adds what the mask keeps.
#include "lora_gradient.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;  // of dU · A at a time

// dx += drop'(p), rows first_token … of the mask.
template <bool kAligned>
__global__ void add_masked_kernel(act_t* dx, int64_t lddx, const act_t* p, int64_t first_token,
                                  int64_t T, int64_t C, const __grid_constant__ DropoutMask mask) {
  const int64_t c = group_column();
  if (c >= C) return;
  const MaskColumns columns = mask_columns(mask, static_cast<int>(c));
  for (int64_t t = first_row(); t < T; t += row_stride()) {
    Float8 sum = load_row8<kAligned>(dx + t * lddx, c, C);
    const Float8 x = load_row8<kAligned>(p + t * C, c, C);
    Kept kept = kept_all();
    if (mask.active) {
      const int64_t token = first_token + t;
      kept = kept_of(mask, mask_row(mask, mask.keys[token], mask.positions[token]), columns);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (keeps_lower(kept.pair[i])) sum.v[2 * i] += mask.scale * x.v[2 * i];
      if (keeps_upper(kept.pair[i])) sum.v[2 * i + 1] += mask.scale * x.v[2 * i + 1];
    }
    store_row8<kAligned>(dx + t * lddx, c, C, sum);
  }
}

void add_input_gradient(act_t* dx, int64_t lddx, const act_t* du, int64_t lddu, const act_t* a,
                        int64_t T, int64_t in, int64_t R, const DropoutMask& mask,
                        CudaDevice& device) {
  const int64_t each = std::max<int64_t>(1, kPieceBytes / (in * int64_t{sizeof(act_t)}));
  act_t* const p = static_cast<act_t*>(
      device.scratch(static_cast<size_t>(std::min(each, T) * in) * sizeof(act_t)));
  const auto kernel = rows_aligned(dx, lddx) && rows_aligned(p, in) ? add_masked_kernel<true>
                                                                    : add_masked_kernel<false>;
  for (int64_t first = 0; first < T; first += each) {
    const int64_t rows = std::min(each, T - first);
    ops::gemm(p, in, du + first * lddu, lddu, false, a, in, false, rows, in, R, 1.0f, 0.0f, device);
    const RowGrid g = row_grid(rows, in);
    kernel<<<g.grid, g.block, 0, device.stream()>>>(dx + first * lddx, lddx, p, first, rows, in,
                                                    mask);
    check_launch("lora_input_backward");
  }
}

}  // namespace
}  // namespace cuda

void ops::lora_input_backward(float* da, act_t* dx, int64_t lddx, const act_t* du, int64_t lddu,
                              const act_t* x, int64_t ldx, const act_t* a, int64_t T, int64_t in,
                              int64_t R, const DropoutSite* dropout, Device& d) {
  using namespace cuda;
  if (T <= 0 || R <= 0) return;
  CudaDevice& device = cuda_device(d);
  const bool one_pass = R <= kMostRanks;
  Gradient gradient = {};
  gradient.num_parts = 1;
  gradient.left = du;
  gradient.ld_left = lddu;
  gradient.right = x;
  gradient.ld_right = ldx;
  gradient.T = static_cast<int>(T);
  gradient.mask = mask_of(dropout);
  gradient.scale = gradient.mask.scale;
  bool aligned = rows_aligned(du, lddu) && rows_aligned(x, ldx);
  if (one_pass && dx != nullptr) {
    gradient.dx = dx;
    gradient.lddx = lddx;
    gradient.a = a;
    aligned = aligned && rows_aligned(dx, lddx) && rows_aligned(a, in);
  }
  for (int64_t first = 0; first < R; first += kMostRanks) {
    GradientPart& part = gradient.parts[0];
    part.columns = static_cast<int>(in);
    part.rank = static_cast<int>(first);
    part.ranks = static_cast<int>(std::min(kMostRanks, R - first));
    part.out = da + first * in;
    part.rank_stride = in;
    part.column_stride = 1;
    if (gradient.dx != nullptr) {
      add_gradient<true>(gradient, aligned, device, "lora_input_backward");
    } else {
      add_gradient<false>(gradient, aligned, device, "lora_input_backward");
    }
  }
  if (dx != nullptr && !one_pass) {
    add_input_gradient(dx, lddx, du, lddu, a, T, in, R, gradient.mask, device);
  }
}

}  // namespace qlora
