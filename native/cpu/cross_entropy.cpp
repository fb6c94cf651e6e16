// cross_entropy_chunk, cross_entropy_finish: see ops.h for the formulas.
#include <cmath>
#include <limits>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::cross_entropy_chunk(SoftmaxState* state, act_t* terms, float* expected,
                              const float* logits, int64_t ld, const int32_t* ids, int64_t first,
                              int64_t n, int64_t C, int64_t H, Device& d) {
  const cpu::RowKernels& row = cpu::kernels().row;
  cpu::cpu_device(d).parallel_range(n, cpu::grain(3 * C), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const z = logits + i * ld;
      act_t* const term = terms != nullptr ? terms + i * ld : nullptr;
      SoftmaxState s{0.0, -std::numeric_limits<float>::max(), 0.0f};
      if (first > 0) s = state[i];
      float top = 0.0f;
      const double sum = row.softmax_terms(term, z, C, &top);
      if (top > s.top) {
        const double shrink = std::exp(static_cast<double>(s.top) - static_cast<double>(top));
        s.sum = s.sum * shrink + sum;
        s.top = top;
        if (expected != nullptr && first > 0) row.scale(expected + i * H, float(shrink), H);
      } else {
        // Not below when the sum is not a number: it then passes on.
        const double grow = std::exp(static_cast<double>(top) - static_cast<double>(s.top));
        s.sum += sum * grow;
        if (term != nullptr && grow != 1.0) row.scale(term, float(grow), C);
      }
      if (ids[i] >= first && ids[i] < first + C) s.target = z[ids[i] - first];
      state[i] = s;
    }
  });
}

void ops::cross_entropy_finish(float* nll, act_t* dx, const SoftmaxState* state,
                               const float* expected, const Weight& head, const int32_t* ids,
                               const float* weights, int64_t n, int64_t H, Device& d) {
  cpu::cpu_device(d).parallel_range(n, cpu::grain(2 * H), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const SoftmaxState& s = state[i];
      nll[i] = static_cast<float>(static_cast<double>(s.top) - static_cast<double>(s.target) +
                                  std::log(s.sum));
      if (dx == nullptr) continue;
      const float weight = weights != nullptr ? weights[i] : 1.0f;
      const float share = static_cast<float>(1.0 / s.sum);
      const act_t* const w = head.plain + int64_t{ids[i]} * head.ld;
      for (int64_t c = 0; c < H; ++c) {
        dx[i * H + c] = weight * (expected[i * H + c] * share - w[c]);
      }
    }
  });
}

}  // namespace qlora
