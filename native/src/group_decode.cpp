#include "group_decode.h"

namespace qlora {

namespace {

ops::Weight plain_weight(const act_t* data, int64_t out, int64_t in, int64_t ld) {
  ops::Weight w;
  w.out = out;
  w.in = in;
  w.plain = data;
  w.ld = ld;
  return w;
}

}  // namespace

void group_decode(act_t* y, int64_t ldy, act_t* x, int64_t layer, int group, int64_t rows,
                  Model& model) {
  const GroupShape& shape = model.groups()[static_cast<size_t>(group)];
  const Lora* const lora = model.active_lora();
  const int64_t R = lora != nullptr ? shape.rank : 0;
  Device& device = model.device();
  const ops::Weight first = model.weights().linear(layer, shape.parts[0].module);
  const bool is_nf4 = first.packed != nullptr;
  if (model.tiles().resident() && !(is_nf4 && device.reads_nf4_faster(rows))) {  // [W | sB] as it is
    if (R > 0) {
      ops::linear_decode(x + shape.in, shape.ld, x, shape.ld, rows,
                         plain_weight(lora->a(layer, group), R, shape.in, shape.in), 0.0f, device);
    }
    const act_t* tile = model.tiles().resident(layer, group);
    ops::linear_decode(y, ldy, x, shape.ld, rows,
                       plain_weight(tile, shape.out, shape.in + R, shape.ld), 0.0f, device);
    return;
  }
  ops::DecodeGroup decode;
  decode.num_parts = shape.num_parts;
  decode.rank = R;
  decode.a = R > 0 ? lora->a(layer, group) : nullptr;
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& from = shape.parts[static_cast<size_t>(p)];
    ops::DecodePart& to = decode.parts[p];
    to.w = model.weights().linear(layer, from.module);
    to.first = from.out_offset;
    if (R == 0 || from.rank == 0) continue;
    to.scaled_b = lora->scaled_b(layer, group, p);
    to.rank = from.rank;
    to.rank_offset = from.rank_offset;
  }
  ops::linear_group_decode(y, ldy, x, shape.ld, rows, decode, device);
}

}  // namespace qlora
