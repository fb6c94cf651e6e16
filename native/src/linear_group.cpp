#include "linear_group.h"

namespace qlora {

namespace {

const GroupShape& shape_of(const Model& model, int group) {
  return model.groups()[static_cast<size_t>(group)];
}

// R, or 0 when no adapter is applied.
int64_t active_rank(const Model& model, int group) {
  return model.active_lora() != nullptr ? shape_of(model, group).rank : 0;
}

ops::DropoutSite site_of(const GroupRows& rows) {
  ops::DropoutSite site{};
  site.seed = rows.dropout->seed;
  site.step = rows.dropout->step;
  site.site = static_cast<uint32_t>(rows.layer * kGroups + rows.group);
  site.probability = rows.dropout->probability;
  return site;
}

bool drops(const GroupRows& rows) {
  return rows.dropout != nullptr && rows.dropout->probability > 0;
}

// drop(X) and its leading dimension: X itself without dropout.
const act_t* drop(const act_t* x, int64_t& ld, const GroupRows& rows, const GroupShape& shape,
                  Device& device) {
  ld = shape.ld;
  if (!drops(rows)) return x;
  ops::dropout_forward(rows.dropped, shape.in, x, shape.ld, rows.keys, rows.positions, rows.T,
                       shape.in, site_of(rows), device);
  ld = shape.in;
  return rows.dropped;
}

}  // namespace

void group_project(act_t* x, const GroupRows& rows, Model& model) {
  const int64_t R = active_rank(model, rows.group);
  if (R == 0) return;
  const GroupShape& shape = shape_of(model, rows.group);
  int64_t ld = 0;
  const act_t* source = drop(x, ld, rows, shape, model.device());
  ops::gemm(x + shape.in, shape.ld, source, ld, false,
            model.active_lora()->a(rows.layer, rows.group), shape.in, true, rows.T, R, shape.in,
            1.0f, 0.0f, model.device());
}

void group_forward(act_t* y, int64_t ldy, act_t* x, const GroupRows& rows, Model& model) {
  const GroupShape& shape = shape_of(model, rows.group);
  group_project(x, rows, model);
  const act_t* w = model.tiles().get(rows.layer, rows.group, model.weights(), model.active_lora(),
                                     model.device());
  ops::gemm(y, ldy, x, shape.ld, false, w, shape.ld, true, rows.T, shape.out,
            shape.in + active_rank(model, rows.group), 1.0f, 0.0f, model.device());
}

void group_backward(act_t* dx, const act_t* dy, int64_t lddy, const act_t* x, bool need_dx,
                    float* gradients, const GroupRows& rows, Model& model) {
  const GroupShape& shape = shape_of(model, rows.group);
  const int64_t R = active_rank(model, rows.group);
  const int64_t first = need_dx ? 0 : shape.in;  // column of [dX | dU] to begin with
  if (first == shape.in && R == 0) return;
  Device& device = model.device();
  const act_t* w =
      model.tiles().get(rows.layer, rows.group, model.weights(), model.active_lora(), device);
  ops::gemm(dx + first, shape.ld, dy, lddy, false, w + first, shape.ld, false, rows.T,
            shape.in + R - first, shape.out, 1.0f, 0.0f, device);
  if (R == 0) return;

  const Lora& lora = *model.active_lora();
  const act_t* u = x + shape.in;
  const act_t* du = dx + shape.in;
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& part = shape.parts[static_cast<size_t>(p)];
    if (part.rank == 0) continue;
    ops::gemm_f32(gradients + lora.b_offset(rows.layer, rows.group, p), part.rank,
                  dy + part.out_offset, lddy, true, u + part.rank_offset, shape.ld, false, part.out,
                  part.rank, rows.T, lora.scale(), 1.0f, device);
  }
  int64_t ld = 0;
  const act_t* source = drop(x, ld, rows, shape, device);
  ops::gemm_f32(gradients + lora.a_offset(rows.layer, rows.group), shape.in, du, shape.ld, true,
                source, ld, false, R, shape.in, rows.T, 1.0f, 1.0f, device);
  if (!need_dx) return;
  const act_t* a = lora.a(rows.layer, rows.group);
  if (drops(rows)) {
    ops::gemm(rows.dropped, shape.in, du, shape.ld, false, a, shape.in, false, rows.T, shape.in, R,
              1.0f, 0.0f, device);
    ops::dropout_backward(dx, shape.ld, rows.dropped, shape.in, rows.keys, rows.positions, rows.T,
                          shape.in, site_of(rows), device);
  } else {
    ops::gemm(dx, shape.ld, du, shape.ld, false, a, shape.in, false, rows.T, shape.in, R, 1.0f,
              1.0f, device);
  }
}

}  // namespace qlora
