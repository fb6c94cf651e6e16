// sum_squares: Σ x² in double, over fixed blocks whose sums are then added in order.
// adamw (torch.optim.AdamW), g = grad_scale · grad:
//   param ·= 1 − lr · wd,  m += (1 − β1)(g − m),  v = β2 · v + (1 − β2) · g²
//   param −= lr / (1 − β1ᵗ) · m / (√v / √(1 − β2ᵗ) + ε)
#include <algorithm>
#include <cmath>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {
namespace {
constexpr int64_t kSumBlock = 8192;
}

void ops::sum_squares(double* result, const float* x, int64_t count, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  const int64_t blocks = (count + kSumBlock - 1) / kSumBlock;
  double* const partial =
      reinterpret_cast<double*>(device.shared_scratch(size_t(blocks) * sizeof(double)));
  device.parallel_range(blocks, 4, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t end = std::min(count, (block + 1) * kSumBlock);
      double lanes[8] = {};
      int64_t i = block * kSumBlock;
      for (; i + 8 <= end; i += 8) {
        for (int lane = 0; lane < 8; ++lane) {
          const double value = static_cast<double>(x[i + lane]);
          lanes[lane] += value * value;
        }
      }
      for (; i < end; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      double sum = 0.0;
      for (int lane = 0; lane < 8; ++lane) sum += lanes[lane];
      partial[block] = sum;
    }
  });
  double sum = 0.0;
  for (int64_t block = 0; block < blocks; ++block) sum += partial[block];
  *result = sum;
}

void ops::adamw(float* param, float* m, float* v, const float* grad, int64_t count,
                const AdamW& options, Device& d) {
  const double t = static_cast<double>(options.step);
  const double correction1 = 1.0 - std::pow(options.beta1, t);
  const double correction2 = 1.0 - std::pow(options.beta2, t);
  cpu::AdamWFactors x;
  x.decay = static_cast<float>(1.0 - options.learning_rate * options.weight_decay);
  x.mix1 = static_cast<float>(1.0 - options.beta1);
  x.keep2 = static_cast<float>(options.beta2);
  x.mix2 = static_cast<float>(1.0 - options.beta2);
  x.step_size = static_cast<float>(options.learning_rate / correction1);
  x.root2 = static_cast<float>(std::sqrt(correction2));
  x.epsilon = static_cast<float>(options.epsilon);
  x.grad_scale = options.grad_scale;
  cpu::cpu_device(d).parallel_range(count, cpu::grain(8), [&](int64_t begin, int64_t end) {
    cpu::kernels().row.adamw(param + begin, m + begin, v + begin, grad + begin, end - begin, x);
  });
}

}  // namespace qlora
