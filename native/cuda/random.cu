// random_normal, random_uniform: element i is made from words of
// philox(counter (i / 4 low, i / 4 high, stream low, stream high), key seed), word i % 4.
//   uniform: ((word >> 8) · 2⁻²³ − 1) · bound, in [−bound, bound)
//   normal:  Box–Muller over the pairs (word 0, word 1) and (word 2, word 3), u = (word + ½) · 2⁻³²:
//            √(−2 ln u₀) · cos(2π u₁) · std and the same with sin, in double
#include "common.cuh"
#include "philox.cuh"

namespace qlora {
namespace cuda {
namespace {

__device__ PhiloxWords words_of(int64_t quad, uint64_t seed, uint64_t stream) {
  return philox(static_cast<uint32_t>(quad), static_cast<uint32_t>(uint64_t(quad) >> 32),
                static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32),
                static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

__device__ void normal_pair(float* values, uint32_t word0, uint32_t word1, double std) {
  const double scale = 1.0 / 4294967296.0;
  const double two_pi = 6.283185307179586;
  const double radius = sqrt(-2.0 * log((word0 + 0.5) * scale)) * std;
  double sine, cosine;
  sincos(two_pi * ((word1 + 0.5) * scale), &sine, &cosine);
  values[0] = static_cast<float>(radius * cosine);
  values[1] = static_cast<float>(radius * sine);
}

__global__ void __launch_bounds__(kThreads)
    random_normal_kernel(float* dst, int64_t count, uint64_t seed, uint64_t stream, double std) {
  for (int64_t quad = first_item(); 4 * quad < count; quad += item_stride()) {
    const PhiloxWords words = words_of(quad, seed, stream);
    float values[4];
    normal_pair(values, words.word[0], words.word[1], std);
    normal_pair(values + 2, words.word[2], words.word[3], std);
    for (int i = 0; i < 4; ++i) {
      if (4 * quad + i < count) dst[4 * quad + i] = values[i];
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    random_uniform_kernel(float* dst, int64_t count, uint64_t seed, uint64_t stream, float bound) {
  for (int64_t quad = first_item(); 4 * quad < count; quad += item_stride()) {
    const PhiloxWords words = words_of(quad, seed, stream);
    for (int i = 0; i < 4; ++i) {
      const float unit = static_cast<float>(words.word[i] >> 8) * 1.1920928955078125e-7f - 1.0f;
      if (4 * quad + i < count) dst[4 * quad + i] = unit * bound;
    }
  }
}

}  // namespace
}  // namespace cuda

void ops::random_normal(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double std,
                        Device& d) {
  if (count <= 0) return;
  const unsigned blocks = cuda::blocks_for(cuda::ceil_div(count, 4));
  cuda::random_normal_kernel<<<blocks, cuda::kThreads, 0, cuda::cuda_device(d).stream()>>>(
      dst, count, seed, stream_id, std);
  cuda::check_launch("random_normal");
}

void ops::random_uniform(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double bound,
                         Device& d) {
  if (count <= 0) return;
  const unsigned blocks = cuda::blocks_for(cuda::ceil_div(count, 4));
  cuda::random_uniform_kernel<<<blocks, cuda::kThreads, 0, cuda::cuda_device(d).stream()>>>(
      dst, count, seed, stream_id, static_cast<float>(bound));
  cuda::check_launch("random_uniform");
}

}  // namespace qlora
