#include "linear_group.h"

#include <array>

#include "weight_product.h"

namespace qlora {

namespace {

const GroupShape& shape_of(const Model& model, int group) {
  return model.groups()[static_cast<size_t>(group)];
}

// R, or 0 when no adapter is applied.
int64_t active_rank(const Model& model, int group) {
  return model.active_lora() != nullptr ? shape_of(model, group).rank : 0;
}

// The dropout in front of A; active: whether there is any.
struct DropoutOf {
  explicit DropoutOf(const GroupRows& rows)
      : active(rows.dropout != nullptr && rows.dropout->probability > 0) {
    if (!active) return;
    site.seed = rows.dropout->seed;
    site.step = rows.dropout->step;
    site.site = static_cast<uint32_t>(rows.layer * kGroups + rows.group);
    site.probability = rows.dropout->probability;
    site.keys = rows.keys;
    site.positions = rows.positions;
  }
  const ops::DropoutSite* get() const { return active ? &site : nullptr; }

  bool active;
  ops::DropoutSite site{};
};

}  // namespace

void group_project(act_t* x, const GroupRows& rows, Model& model) {
  const int64_t R = active_rank(model, rows.group);
  if (R == 0) return;
  const GroupShape& shape = shape_of(model, rows.group);
  ops::lora_down_forward(x + shape.in, shape.ld, x, shape.ld,
                         model.active_lora()->a(rows.layer, rows.group), rows.T, shape.in, R,
                         DropoutOf(rows).get(), model.device());
}

void group_forward(act_t* y, int64_t ldy, act_t* x, const GroupRows& rows, Model& model) {
  group_project(x, rows, model);
  weight_forward(y, ldy, x, rows.layer, rows.group, rows.T, model);
}

void group_backward(act_t* dx, const act_t* dy, int64_t lddy, const act_t* x, bool need_dx,
                    float* gradients, const GroupRows& rows, Model& model) {
  const GroupShape& shape = shape_of(model, rows.group);
  const int64_t R = active_rank(model, rows.group);
  const int64_t first = need_dx ? 0 : shape.in;  // column of [dX | dU] to begin with
  if (first == shape.in && R == 0) return;
  Device& device = model.device();
  weight_backward(dx, first, dy, lddy, rows.layer, rows.group, rows.T, model);
  if (R == 0) return;

  const Lora& lora = *model.active_lora();
  ops::lora_input_backward(gradients + lora.a_offset(rows.layer, rows.group),
                           need_dx ? dx : nullptr, shape.ld, dx + shape.in, shape.ld, x, shape.ld,
                           lora.a(rows.layer, rows.group), rows.T, shape.in, R,
                           DropoutOf(rows).get(), device);
  std::array<ops::LoraPart, 3> parts{};
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& part = shape.parts[static_cast<size_t>(p)];
    parts[static_cast<size_t>(p)] = {gradients + lora.b_offset(rows.layer, rows.group, p), part.out,
                                     part.out_offset, part.rank, part.rank_offset};
  }
  ops::lora_b_backward(parts.data(), shape.num_parts, dy, lddy, x + shape.in, shape.ld, rows.T,
                       lora.scale(), device);
}

}  // namespace qlora
