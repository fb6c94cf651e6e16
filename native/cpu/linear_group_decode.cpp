// linear_group_decode: U = x · Aᵀ, then y_p = x · W_pᵀ + U_p · sB_pᵀ for every part p, by
// linear_decode.
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
  act_t* const u = x + group.parts[0].w.in;
  if (group.rank > 0) {
    linear_decode(u, ldx, x, ldx, m, plain_weight(group.a, group.rank, group.parts[0].w.in), 0.0f,
                  d);
  }
  for (int p = 0; p < group.num_parts; ++p) {
    const DecodePart& part = group.parts[p];
    linear_decode(y + part.first, ldy, x, ldx, m, part.w, 0.0f, d);
    if (part.rank == 0) continue;
    linear_decode(y + part.first, ldy, u + part.rank_offset, ldx, m,
                  plain_weight(part.scaled_b, part.w.out, part.rank), 1.0f, d);
  }
}

}  // namespace qlora
