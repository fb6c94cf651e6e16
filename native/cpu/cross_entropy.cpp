// cross_entropy, a row of logits z with target id and weight w:
//   nll = log Σ e^z − z[id],  dlogits = w · (softmax(z) − onehot(id)),  which may be logits itself
#include <algorithm>
#include <cmath>

#include "cpu_device.h"

namespace qlora {

void ops::cross_entropy(float* nll, act_t* dlogits, const float* logits, const int32_t* ids,
                        const float* weights, int64_t n, int64_t V, Device& d) {
  cpu::cpu_device(d).parallel_range(n, cpu::grain(4 * V), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const z = logits + i * V;
      const float target = z[ids[i]];
      float top = z[0];
      for (int64_t c = 1; c < V; ++c) top = std::max(top, z[c]);
      double sum = 0.0;
      for (int64_t c = 0; c < V; ++c) sum += static_cast<double>(std::exp(z[c] - top));
      const float lse = top + static_cast<float>(std::log(sum));
      nll[i] = lse - target;
      if (dlogits == nullptr) continue;
      const float weight = weights != nullptr ? weights[i] : 1.0f;
      act_t* const grad = dlogits + i * V;
      for (int64_t c = 0; c < V; ++c) grad[c] = weight * std::exp(z[c] - lse);
      grad[ids[i]] -= weight;
    }
  });
}

}  // namespace qlora
