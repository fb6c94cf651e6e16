// cross_entropy, a row of logits z with target id and weight w:
//   nll = log Σ e^z − z[id],  dlogits = w · (softmax(z) − onehot(id)),  which may be logits itself
#include <cmath>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::cross_entropy(float* nll, act_t* dlogits, const float* logits, const int32_t* ids,
                        const float* weights, int64_t n, int64_t V, Device& d) {
  const cpu::RowKernels& row = cpu::kernels().row;
  cpu::cpu_device(d).parallel_range(n, cpu::grain(4 * V), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const z = logits + i * V;
      act_t* const grad = dlogits != nullptr ? dlogits + i * V : nullptr;
      const double target = static_cast<double>(z[ids[i]]);
      float top = 0.0f;
      const double sum = row.softmax_terms(grad, z, V, &top);
      nll[i] = static_cast<float>(static_cast<double>(top) - target + std::log(sum));
      if (grad == nullptr) continue;
      const float weight = weights != nullptr ? weights[i] : 1.0f;
      row.scale(grad, static_cast<float>(static_cast<double>(weight) / sum), V);
      grad[ids[i]] -= weight;
    }
  });
}

}  // namespace qlora
