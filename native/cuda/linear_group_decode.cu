// linear_group_decode: the linears of a group for few rows of x, straight from NF4:
//   x = residual · rstd · norm  (or x as it is),  U = x · Aᵀ,
//   y_p = x · W_pᵀ + U_p · sB_pᵀ + beta · y_p for every part p, or y = silu(y_0) · y_1 of a pair.
// Up to kNarrowRows rows of x in one launch (nf4_decode_narrow.cu). For more, the norm and SwiGLU
// are ops of their own; U and the parts are one launch on Hopper (nf4_decode_hopper.cu), elsewhere
// project.cu's and nf4_decode_wide.cu's. A row of y has the same bits in any company inside each of
// the kernels; between few and more rows the order of the sums differs.
#include "common.cuh"
#include "nf4.cuh"
#include "nf4_decode.h"

namespace qlora {
namespace cuda {

bool nf4_tiled(const ops::Weight& w, const act_t* x, int64_t ldx) {
  return w.packed != nullptr && w.in % kNf4Block == 0 && w.out * (w.in / kNf4Block) <= INT32_MAX &&
         rows_aligned(w.packed, 16) && rows_aligned(x, ldx);
}

namespace {

// U and the parts, weights of any form.
void any_products(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                  const ops::DecodeGroup& group, Device& d) {
  const int64_t in = group.parts[0].w.in;
  const auto plain = [](const act_t* w, int64_t out, int64_t columns) {
    ops::Weight weight;
    weight.out = out;
    weight.in = weight.ld = columns;
    weight.plain = w;
    return weight;
  };
  if (group.rank > 0) {
    ops::linear_decode(x + in, ldx, x, ldx, m, plain(group.a, group.rank, in), 0.0f, d);
  }
  for (int p = 0; p < group.num_parts; ++p) {
    const ops::DecodePart& part = group.parts[p];
    ops::linear_decode(y + part.first, ldy, x, ldx, m, part.w, group.beta, d);
    if (part.rank == 0) continue;
    ops::linear_decode(y + part.first, ldy, x + in + part.rank_offset, ldx, m,
                       plain(part.scaled_b, part.w.out, part.rank), 1.0f, d);
  }
}

}  // namespace
}  // namespace cuda

void ops::linear_group_decode(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                              const DecodeGroup& group, Device& d) {
  using namespace cuda;
  if (m == 0) return;
  CudaDevice& device = cuda_device(d);
  const int64_t in = group.parts[0].w.in;
  bool tiled = group.rank == 0 || rows_aligned(group.a, in);
  for (int p = 0; p < group.num_parts; ++p) {
    tiled = tiled && nf4_tiled(group.parts[p].w, x, ldx);
  }
  const bool narrow = tiled && nf4_narrow_takes(m, group, device);
  DecodeGroup rest = group;
  if (group.norm != nullptr && !(narrow && nf4_narrow_normalises(m, group, device))) {
    rmsnorm_forward(x, ldx, nullptr, nullptr, group.residual, nullptr, group.norm, m, in, group.eps,
                    d);
    rest.norm = nullptr;
  }
  if (narrow) {
    nf4_narrow_product(y, ldy, x, ldx, m, rest, device);
    return;
  }
  const int64_t out = group.parts[0].w.out;
  act_t* const to = group.pair != nullptr ? group.pair : y;
  const int64_t ld = group.pair != nullptr ? 2 * out : ldy;
  if (tiled && can_run_hopper(device)) {
    nf4_hopper_product(to, ld, x, ldx, m, group, group.rank > 0 ? x + in : nullptr, group.beta,
                       device);
  } else if (tiled) {
    if (group.rank > 0) project(x + in, ldx, x, ldx, m, group.a, group.rank, in, device);
    nf4_wide_product(to, ld, x, ldx, m, group, group.beta, device);
  } else {
    any_products(to, ld, x, ldx, m, group, d);
  }
  if (group.pair != nullptr) swiglu_forward(y, ldy, group.pair, m, out, d);
}

}  // namespace qlora
