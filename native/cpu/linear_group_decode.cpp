// linear_group_decode: the norm before, U = x · Aᵀ, y_p = x · W_pᵀ + U_p · sB_pᵀ + beta · y_p for every
// part p by linear_decode, and SwiGLU behind.
#include "ops.h"

namespace qlora {
namespace {

ops::Weight plain_weight(const act_t* data, int64_t out, int64_t in) {
  ops::Weight w;
  w.out = out;
  w.in = w.ld = in;
  w.plain = data;
  return w;
}

}  // namespace

void ops::linear_group_decode(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                              const DecodeGroup& group, Device& d) {
  const int64_t in = group.parts[0].w.in, out = group.parts[0].w.out;
  if (group.norm != nullptr) {
    rmsnorm_forward(x, ldx, nullptr, nullptr, group.residual, nullptr, group.norm, m, in, group.eps,
                    d);
  }
  act_t* const u = x + in;
  if (group.rank > 0) {
    linear_decode(u, ldx, x, ldx, m, plain_weight(group.a, group.rank, in), 0.0f, d);
  }
  act_t* const to = group.pair != nullptr ? group.pair : y;
  const int64_t ld = group.pair != nullptr ? 2 * out : ldy;
  for (int p = 0; p < group.num_parts; ++p) {
    const DecodePart& part = group.parts[p];
    linear_decode(to + part.first, ld, x, ldx, m, part.w, group.beta, d);
    if (part.rank == 0) continue;
    linear_decode(to + part.first, ld, u + part.rank_offset, ldx, m,
                  plain_weight(part.scaled_b, part.w.out, part.rank), 1.0f, d);
  }
  if (group.pair != nullptr) swiglu_forward(y, ldy, group.pair, m, out, d);
}

}  // namespace qlora
