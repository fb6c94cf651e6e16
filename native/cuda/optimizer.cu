// sum_squares: Σ x² in double, over fixed stretches whose sums are then added in order.
// adamw (torch.optim.AdamW), g = grad_scale · grad:
//   param ·= 1 − lr · wd,  m += (1 − β1)(g − m),  v = β2 · v + (1 − β2) · g²
//   param −= lr / (1 − β1ᵗ) · m / (√v / √(1 − β2ᵗ) + ε)
#include <algorithm>
#include <cmath>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kMostParts = 2048;

// parts[b] = Σ x² of the b-th stretch.
__global__ void __launch_bounds__(kThreads)
    square_parts_kernel(double* parts, const float* x, int64_t count) {
  const int64_t begin = count * blockIdx.x / gridDim.x, end = count * (blockIdx.x + 1) / gridDim.x;
  double sum = 0.0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) sum += double(x[i]) * double(x[i]);
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    add_parts_kernel(double* result, const double* parts, int num_parts) {
  double sum = 0.0;
  for (int i = threadIdx.x; i < num_parts; i += kThreads) sum += parts[i];
  sum = block_sum<kThreads>(sum);
  if (threadIdx.x == 0) *result = sum;
}

struct Factors {
  float decay, mix1, keep2, mix2, step_size, root2, epsilon, grad_scale;
};

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(float* param, float* m, float* v, const float* grad, int64_t count, Factors x) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    const float g = x.grad_scale * grad[i];
    const float mean = m[i] + x.mix1 * (g - m[i]);
    const float square = x.keep2 * v[i] + x.mix2 * (g * g);
    m[i] = mean;
    v[i] = square;
    const float size = sqrtf(square) / x.root2 + x.epsilon;
    param[i] = param[i] * x.decay - x.step_size * mean / size;
  }
}

}  // namespace
}  // namespace cuda

void ops::sum_squares(double* result, const float* x, int64_t count, Device& d) {
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const int num_parts = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>(cuda::kMostParts, cuda::ceil_div(count, 4096))));
  double* const parts = static_cast<double*>(device.scratch(cuda::kMostParts * sizeof(double)));
  cuda::square_parts_kernel<<<num_parts, cuda::kThreads, 0, device.stream()>>>(parts, x, count);
  cuda::check_launch("sum_squares");
  cuda::add_parts_kernel<<<1, cuda::kThreads, 0, device.stream()>>>(result, parts, num_parts);
  cuda::check_launch("sum_squares");
}

void ops::adamw(float* param, float* m, float* v, const float* grad, int64_t count,
                const AdamW& options, Device& d) {
  if (count <= 0) return;
  const double t = static_cast<double>(options.step);
  const double correction1 = 1.0 - std::pow(options.beta1, t);
  const double correction2 = 1.0 - std::pow(options.beta2, t);
  cuda::Factors x;
  x.decay = static_cast<float>(1.0 - options.learning_rate * options.weight_decay);
  x.mix1 = static_cast<float>(1.0 - options.beta1);
  x.keep2 = static_cast<float>(options.beta2);
  x.mix2 = static_cast<float>(1.0 - options.beta2);
  x.step_size = static_cast<float>(options.learning_rate / correction1);
  x.root2 = static_cast<float>(std::sqrt(correction2));
  x.epsilon = static_cast<float>(options.epsilon);
  x.grad_scale = options.grad_scale;
  cuda::adamw_kernel<<<cuda::blocks_for(count), cuda::kThreads, 0,
                       cuda::cuda_device(d).stream()>>>(param, m, v, grad, count, x);
  cuda::check_launch("adamw");
}

}  // namespace qlora
