// cross_entropy, a row of logits z with target id and weight w:
//   nll = log Σ e^z − z[id],  dlogits = w · (softmax(z) − onehot(id))
// A block a row. One pass finds the largest logit and the sum together: a thread rescales its sum
// when it meets a larger logit. The second pass writes the gradient.
#include <cfloat>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kRowThreads = 1024;

// Σ e^(z − top) over what was seen, and top.
struct Partial {
  float top = -FLT_MAX, sum = 0.0f;  // finite: logits of −∞ then count as 0

  __device__ void add(float z) {
    if (z > top) {
      sum *= expf(top - z);
      top = z;
    }
    sum += expf(z - top);
  }
};

template <bool kAligned>
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_kernel(float* nll, act_t* dlogits, const float* logits, const int32_t* ids,
                         const float* weights, int64_t V) {
  const int64_t row = blockIdx.x;
  const float* const z = logits + row * V;
  const int64_t step = int64_t{kRowThreads} * 8, first = int64_t{threadIdx.x} * 8;
  Partial own;
  for (int64_t c = first; c < V; c += step) {
    const Float8 x = load_row8<kAligned>(z, c, V);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (c + i < V) own.add(x.v[i]);
    }
  }
  const float top = block_max<kRowThreads>(own.top);
  const double share = own.sum > 0.0f ? double(own.sum * expf(own.top - top)) : double(own.sum);
  const double sum = block_sum<kRowThreads>(share);
  const int64_t id = ids[row];
  if (threadIdx.x == 0) nll[row] = static_cast<float>(double(top) - double(z[id]) + log(sum));
  if (dlogits == nullptr) return;

  const float weight = weights != nullptr ? weights[row] : 1.0f;
  const float scale = static_cast<float>(double(weight) / sum);
  for (int64_t c = first; c < V; c += step) {
    Float8 x = load_row8<kAligned>(z, c, V);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.v[i] = scale * expf(x.v[i] - top) - (c + i == id ? weight : 0.0f);
    }
    store_row8<kAligned>(dlogits + row * V, c, V, x);
  }
}

}  // namespace
}  // namespace cuda

void ops::cross_entropy(float* nll, act_t* dlogits, const float* logits, const int32_t* ids,
                        const float* weights, int64_t n, int64_t V, Device& d) {
  if (n <= 0) return;
  const bool aligned = cuda::rows_aligned(logits, V) && cuda::rows_aligned(dlogits, V);
  const auto kernel = aligned ? cuda::cross_entropy_kernel<true> : cuda::cross_entropy_kernel<false>;
  kernel<<<static_cast<unsigned>(n), cuda::kRowThreads, 0, cuda::cuda_device(d).stream()>>>(
      nll, dlogits, logits, ids, weights, V);
  cuda::check_launch("cross_entropy");
}

}  // namespace qlora
