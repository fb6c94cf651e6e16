// cross_entropy_chunk, cross_entropy_finish: see ops.h for the formulas.
//
// A block a row. One pass over the chunk finds the largest logit, a second, which finds the row in
// the cache, writes the terms and sums them. Bound by memory: 4 bytes read and 2 written a logit.
#include <cfloat>

#include "common.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kRowThreads = 512;

template <bool kAligned>
__global__ void __launch_bounds__(kRowThreads)
    cross_entropy_chunk_kernel(ops::SoftmaxState* state, act_t* terms, float* expected,
                               const float* logits, int64_t ld, const int32_t* ids, int64_t first,
                               int64_t C, int64_t H) {
  const int64_t row = blockIdx.x;
  const float* const z = logits + row * ld;
  const int64_t step = int64_t{kRowThreads} * 8, begin = int64_t{threadIdx.x} * 8;
  float own_top = -FLT_MAX;  // finite: logits of −∞ then count as 0
  for (int64_t c = begin; c < C; c += step) {
    const Float8 x = load_row8<kAligned>(z, c, C);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (c + i < C) own_top = fmaxf(own_top, x.v[i]);
    }
  }
  const ops::SoftmaxState before =
      first > 0 ? state[row] : ops::SoftmaxState{0.0, -FLT_MAX, 0.0f};
  const float top = fmaxf(block_max<kRowThreads>(own_top), before.top);
  float own_sum = 0.0f;
  for (int64_t c = begin; c < C; c += step) {
    Float8 x = load_row8<kAligned>(z, c, C);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      x.v[i] = c + i < C ? expf(x.v[i] - top) : 0.0f;
      own_sum += x.v[i];
    }
    if (terms != nullptr) store_row8<kAligned>(terms + row * ld, c, C, x);
  }
  const double sum = block_sum<kRowThreads>(double(own_sum));  // also: every thread has read state
  const double shrink = exp(double(before.top) - double(top));
  if (threadIdx.x == 0) {
    const int64_t column = ids[row] - first;
    state[row] = {before.sum * shrink + sum, top,
                  column >= 0 && column < C ? z[column] : before.target};
  }
  if (expected == nullptr || first == 0 || top == before.top) return;
  const float factor = static_cast<float>(shrink);
  for (int64_t c = begin; c < H; c += step) {
    Float8 x = load_row8<kAligned>(expected + row * H, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] *= factor;
    store_row8<kAligned>(expected + row * H, c, H, x);
  }
}

template <bool kAligned>
__global__ void cross_entropy_finish_kernel(float* nll, act_t* dx, const ops::SoftmaxState* state,
                                            const float* expected, const act_t* head,
                                            int64_t ld_head, const int32_t* ids,
                                            const float* weights, int64_t n, int64_t H) {
  const int64_t c = group_column();
  for (int64_t row = first_row(); row < n; row += row_stride()) {
    const ops::SoftmaxState s = state[row];
    if (c == 0) nll[row] = static_cast<float>(double(s.top) - double(s.target) + log(s.sum));
    if (dx == nullptr || c >= H) continue;
    const float weight = weights != nullptr ? weights[row] : 1.0f;
    const float share = static_cast<float>(1.0 / s.sum);
    Float8 x = load_row8<kAligned>(expected + row * H, c, H);
    const Float8 w = load_row8<kAligned>(head + int64_t{ids[row]} * ld_head, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] = weight * (x.v[i] * share - w.v[i]);
    store_row8<kAligned>(dx + row * H, c, H, x);
  }
}

}  // namespace
}  // namespace cuda

void ops::cross_entropy_chunk(SoftmaxState* state, act_t* terms, float* expected,
                              const float* logits, int64_t ld, const int32_t* ids, int64_t first,
                              int64_t n, int64_t C, int64_t H, Device& d) {
  if (n <= 0) return;
  const bool aligned = cuda::rows_aligned(logits, ld) && cuda::rows_aligned(terms, ld) &&
                       cuda::rows_aligned(expected, H);
  const auto kernel =
      aligned ? cuda::cross_entropy_chunk_kernel<true> : cuda::cross_entropy_chunk_kernel<false>;
  kernel<<<static_cast<unsigned>(n), cuda::kRowThreads, 0, cuda::cuda_device(d).stream()>>>(
      state, terms, expected, logits, ld, ids, first, C, H);
  cuda::check_launch("cross_entropy_chunk");
}

void ops::cross_entropy_finish(float* nll, act_t* dx, const SoftmaxState* state,
                               const float* expected, const Weight& head, const int32_t* ids,
                               const float* weights, int64_t n, int64_t H, Device& d) {
  if (n <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(n, dx != nullptr ? H : 1);
  const bool aligned = cuda::rows_aligned(dx, H) && cuda::rows_aligned(expected, H) &&
                       cuda::rows_aligned(head.plain, head.ld);
  const auto kernel = aligned ? cuda::cross_entropy_finish_kernel<true>
                              : cuda::cross_entropy_finish_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(
      nll, dx, state, expected, head.plain, head.ld, ids, weights, n, H);
  cuda::check_launch("cross_entropy_finish");
}

}  // namespace qlora
