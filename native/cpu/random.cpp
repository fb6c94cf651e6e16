// random_normal, random_uniform: element i is made from words of
// philox(counter (i / 4 low, i / 4 high, stream low, stream high), key seed), word i % 4.
//   uniform: ((word >> 8) · 2⁻²³ − 1) · bound, in [−bound, bound)
//   normal:  Box–Muller over the pairs (word 0, word 1) and (word 2, word 3), u = (word + ½) ·
//   2⁻³²:
//            √(−2 ln u₀) · cos(2π u₁) · std and the same with sin
#include <algorithm>
#include <cmath>

#include "cpu_device.h"
#include "philox.h"

namespace qlora {
namespace {

cpu::PhiloxWords words_of(int64_t quad, uint64_t seed, uint64_t stream) {
  const uint64_t counter = static_cast<uint64_t>(quad);
  return cpu::philox(static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                     static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32),
                     static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
}

void normal_pair(float* values, uint32_t word0, uint32_t word1, double std) {
  const double scale = 1.0 / 4294967296.0;
  const double two_pi = 6.283185307179586;
  const double radius = std::sqrt(-2.0 * std::log((word0 + 0.5) * scale)) * std;
  const double angle = two_pi * ((word1 + 0.5) * scale);
  values[0] = static_cast<float>(radius * std::cos(angle));
  values[1] = static_cast<float>(radius * std::sin(angle));
}

}  // namespace

void ops::random_normal(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double std,
                        Device& d) {
  const int64_t quads = (count + 3) / 4;
  cpu::cpu_device(d).parallel_range(quads, cpu::grain(64), [&](int64_t begin, int64_t end) {
    for (int64_t quad = begin; quad < end; ++quad) {
      const cpu::PhiloxWords words = words_of(quad, seed, stream_id);
      float values[4];
      normal_pair(values, words.word[0], words.word[1], std);
      normal_pair(values + 2, words.word[2], words.word[3], std);
      const int64_t size = std::min<int64_t>(4, count - 4 * quad);
      std::copy_n(values, size, dst + 4 * quad);
    }
  });
}

void ops::random_uniform(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double bound,
                         Device& d) {
  const int64_t quads = (count + 3) / 4;
  const float limit = static_cast<float>(bound);
  cpu::cpu_device(d).parallel_range(quads, cpu::grain(16), [&](int64_t begin, int64_t end) {
    for (int64_t quad = begin; quad < end; ++quad) {
      const cpu::PhiloxWords words = words_of(quad, seed, stream_id);
      const int64_t size = std::min<int64_t>(4, count - 4 * quad);
      for (int64_t i = 0; i < size; ++i) {
        const float unit = static_cast<float>(words.word[i] >> 8) * 1.1920928955078125e-7f - 1.0f;
        dst[4 * quad + i] = unit * limit;
      }
    }
  });
}

}  // namespace qlora
