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

// parts[b] = Σ x² of the b-th stretch: of groups of four where x is aligned; the last block adds
// what they leave.
__global__ void __launch_bounds__(kThreads)
    square_parts_kernel(double* parts, const float* x, int64_t quads, int64_t count) {
  const int64_t begin = quads * blockIdx.x / gridDim.x, end = quads * (blockIdx.x + 1) / gridDim.x;
  double sum = 0.0;
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float4 q = reinterpret_cast<const float4*>(x)[i];
    sum += double(q.x) * double(q.x) + double(q.y) * double(q.y) +
           (double(q.z) * double(q.z) + double(q.w) * double(q.w));
  }
  if (blockIdx.x + 1 == gridDim.x) {
    for (int64_t i = 4 * quads + threadIdx.x; i < count; i += kThreads) {
      sum += double(x[i]) * double(x[i]);
    }
  }
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
  float decay, mix1, keep2, mix2, step_size, inverse_root2, epsilon, grad_scale;
};

__device__ inline void update(float& param, float& m, float& v, float grad, const Factors& x) {
  const float g = x.grad_scale * grad;
  m += x.mix1 * (g - m);
  v = x.keep2 * v + x.mix2 * (g * g);
  const float size = sqrtf(v) * x.inverse_root2 + x.epsilon;
  param = param * x.decay - x.step_size * m / size;
}

__global__ void __launch_bounds__(kThreads)
    adamw_kernel(float* param, float* m, float* v, const float* grad, int64_t count, Factors x) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    update(param[i], m[i], v[i], grad[i], x);
  }
}

__global__ void __launch_bounds__(kThreads)
    adamw_quads_kernel(float4* param, float4* m, float4* v, const float4* grad, int64_t quads,
                       Factors x) {
  for (int64_t i = first_item(); i < quads; i += item_stride()) {
    float4 p = param[i], mean = m[i], square = v[i];
    const float4 g = grad[i];
    update(p.x, mean.x, square.x, g.x, x);
    update(p.y, mean.y, square.y, g.y, x);
    update(p.z, mean.z, square.z, g.z, x);
    update(p.w, mean.w, square.w, g.w, x);
    param[i] = p;
    m[i] = mean;
    v[i] = square;
  }
}

}  // namespace
}  // namespace cuda

void ops::sum_squares(double* result, const float* x, int64_t count, Device& d) {
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const int num_parts = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>(cuda::kMostParts, cuda::ceil_div(count, 4096))));
  double* const parts = static_cast<double*>(device.scratch(cuda::kMostParts * sizeof(double)));
  const int64_t quads = cuda::rows_aligned(x, 4) ? count / 4 : 0;
  cuda::square_parts_kernel<<<num_parts, cuda::kThreads, 0, device.stream()>>>(parts, x, quads,
                                                                               count);
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
  x.inverse_root2 = static_cast<float>(1.0 / std::sqrt(correction2));
  x.epsilon = static_cast<float>(options.epsilon);
  x.grad_scale = options.grad_scale;
  const cudaStream_t stream = cuda::cuda_device(d).stream();
  const bool aligned = cuda::rows_aligned(param, 4) && cuda::rows_aligned(m, 4) &&
                       cuda::rows_aligned(v, 4) && cuda::rows_aligned(grad, 4);
  const int64_t quads = aligned ? count / 4 : 0, done = 4 * quads;
  if (quads > 0) {
    cuda::adamw_quads_kernel<<<cuda::blocks_for(quads), cuda::kThreads, 0, stream>>>(
        reinterpret_cast<float4*>(param), reinterpret_cast<float4*>(m),
        reinterpret_cast<float4*>(v), reinterpret_cast<const float4*>(grad), quads, x);
    cuda::check_launch("adamw");
  }
  if (done == count) return;
  cuda::adamw_kernel<<<cuda::blocks_for(count - done), cuda::kThreads, 0, stream>>>(
      param + done, m + done, v + done, grad + done, count - done, x);
  cuda::check_launch("adamw");
}

}  // namespace qlora
