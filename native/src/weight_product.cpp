#include "weight_product.h"

#include <algorithm>

namespace qlora {

void weight_forward(act_t* y, int64_t ldy, const act_t* x, int64_t layer, int group, int64_t T,
                    Model& model) {
  const GroupShape& shape = model.groups()[static_cast<size_t>(group)];
  const Lora* lora = model.active_lora();
  const int64_t inner = shape.in + (lora != nullptr ? shape.rank : 0);
  const int64_t step = model.tiles().rows_at_once(group);
  for (int64_t begin = 0; begin < shape.out; begin += step) {
    const int64_t count = std::min(step, shape.out - begin);
    const Tiles::Window w =
        model.tiles().rows(layer, group, begin, count, model.weights(), lora, model.device());
    ops::gemm(y + begin, ldy, x, shape.ld, false, w.data, w.ld, true, T, count, inner, 1.0f, 0.0f,
              model.device());
  }
}

void weight_backward(act_t* dx, int64_t first, const act_t* dy, int64_t lddy, int64_t layer,
                     int group, int64_t T, Model& model) {
  const GroupShape& shape = model.groups()[static_cast<size_t>(group)];
  const Lora* lora = model.active_lora();
  const int64_t end = shape.in + (lora != nullptr ? shape.rank : 0);
  const int64_t step = model.tiles().columns_at_once(group);
  for (int64_t begin = first; begin < end;) {
    const int64_t next = begin + step < shape.in ? begin + step : end;
    const Tiles::Window w = model.tiles().columns(layer, group, begin, next - begin,
                                                  model.weights(), lora, model.device());
    ops::gemm(dx + begin, shape.ld, dy, lddy, false, w.data, w.ld, false, T, next - begin,
              shape.out, 1.0f, 0.0f, model.device());
    begin = next;
  }
}

}  // namespace qlora
