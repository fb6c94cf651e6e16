// kv_append: a row of qkv leaves its keys and values in its slot of the cache; kv_load: the reverse.
// attention_decode: q and k of a row turned (rope), k and v appended, then its query over the prefix
// and its slot,
//   s[j] = q·k[j] / √D,  out = Σ softmax(s)[j] · v[j]
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

namespace {

// Keys and values of one token, at the first key head.
struct Place {
  act_t *k, *v;
};

Place place_of(const ops::KvCache& cache, int64_t slot, int64_t position) {
  const int64_t at =
      (slot < 0 ? position : slot * cache.slot_capacity + position) * cache.G * cache.D;
  return {(slot < 0 ? cache.prefix_k : cache.k) + at, (slot < 0 ? cache.prefix_v : cache.v) + at};
}

}  // namespace

void ops::kv_append(const KvCache& cache, const act_t* qkv, int64_t ld, const int32_t* slot_of_row,
                    const int32_t* position_in_slot, int64_t rows, int64_t Q, Device&) {
  const int64_t width = cache.G * cache.D;
  for (int64_t i = 0; i < rows; ++i) {
    const Place to = place_of(cache, slot_of_row[i], position_in_slot[i]);
    const act_t* const from = qkv + i * ld + Q * cache.D;
    std::memcpy(to.k, from, size_t(width) * sizeof(act_t));
    std::memcpy(to.v, from + width, size_t(width) * sizeof(act_t));
  }
}

void ops::kv_load(act_t* qkv, int64_t ld, const KvCache& cache, int32_t slot, int64_t rows,
                  int64_t Q, Device&) {
  const int64_t width = cache.G * cache.D;
  for (int64_t i = 0; i < rows; ++i) {
    const Place from = place_of(cache, slot, i);
    act_t* const to = qkv + i * ld + Q * cache.D;
    std::memcpy(to, from.k, size_t(width) * sizeof(act_t));
    std::memcpy(to + width, from.v, size_t(width) * sizeof(act_t));
  }
}

namespace {

// Keys and values of one key head, one after another `width` apart.
struct Span {
  const act_t *k, *v;
  int64_t count;
};

// scores [heads, ld], columns [0, span.count): q·k / √D for up to kDotRows heads.
void span_scores(float* scores, int64_t ld, const act_t* q, int64_t heads, const Span& span,
                 int64_t width, int64_t D, float scale) {
  constexpr int64_t kStep = cpu::kDotRows;
  float sums[kStep * kStep];
  for (int64_t j = 0; j < span.count; j += kStep) {
    const int64_t keys = std::min(kStep, span.count - j);
    cpu::kernels().row.dots(sums, span.k + j * width, width, keys, q, D, heads, D);
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t i = 0; i < keys; ++i) scores[h * ld + j + i] = sums[i * kStep + h] * scale;
    }
  }
}

// out (D) = Σ p · v over both spans, p = scores / sum; more (D) is scratch.
void weigh_values(act_t* out, const float* scores, const Span* spans, int64_t width, int64_t D,
                  float share, float* more) {
  const cpu::RowKernels& row = cpu::kernels().row;
  row.weighted_sum(out, scores, spans[0].v, width, spans[0].count, D);
  row.weighted_sum(more, scores + spans[0].count, spans[1].v, width, spans[1].count, D);
  row.add(out, out, more, D);
  row.scale(out, share, D);
}

}  // namespace

void ops::attention_decode(act_t* out, int64_t ld_out, act_t* qkv, int64_t ld,
                           const KvCache& cache, const int32_t* slots, const int32_t* positions,
                           int64_t prefix_length, const float* cos, const float* sin, int64_t rows,
                           int64_t Q, Device& d) {
  constexpr int64_t kHeads = cpu::kDotRows;  // taken together
  const int64_t G = cache.G, D = cache.D, width = G * D, heads = Q / G;
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  int64_t longest = 0;
  std::vector<int32_t> places(static_cast<size_t>(rows));  // behind the prefix
  for (int64_t i = 0; i < rows; ++i) {
    longest = std::max<int64_t>(longest, positions[i] + 1);
    places[size_t(i)] = static_cast<int32_t>(prefix_length) + positions[i];
  }
  rope(qkv, ld, places.data(), cos, sin, rows, Q, G, D, false, d);
  kv_append(cache, qkv, ld, slots, positions, rows, Q, d);
  const int64_t ld_scores = prefix_length + longest;
  cpu::CpuDevice& device = cpu::cpu_device(d);
  device.reserve_worker_scratch(size_t(kHeads * ld_scores + D) * sizeof(float));
  device.parallel(rows * G, [&](int64_t task, int worker) {
    const int64_t i = task / G, g = task % G, length = positions[i] + 1;
    const Place own = place_of(cache, slots[i], 0);
    const Span spans[2] = {{prefix_length > 0 ? cache.prefix_k + g * D : nullptr,
                            prefix_length > 0 ? cache.prefix_v + g * D : nullptr, prefix_length},
                           {own.k + g * D, own.v + g * D, length}};
    const int64_t count = prefix_length + length;
    float* const scores = device.worker_scratch(worker);
    float* const more = scores + kHeads * ld_scores;
    for (int64_t h = 0; h < heads; h += kHeads) {
      const int64_t taken = std::min(kHeads, heads - h);
      const act_t* const q = qkv + i * ld + (g * heads + h) * D;
      span_scores(scores, ld_scores, q, taken, spans[0], width, D, scale);
      span_scores(scores + prefix_length, ld_scores, q, taken, spans[1], width, D, scale);
      for (int64_t j = 0; j < taken; ++j) {
        float* const of_head = scores + j * ld_scores;
        float top = 0.0f;
        const double sum = cpu::kernels().row.softmax_terms(of_head, of_head, count, &top);
        weigh_values(out + i * ld_out + (g * heads + h + j) * D, of_head, spans, width, D,
                     static_cast<float>(1.0 / sum), more);
      }
    }
  });
}

}  // namespace qlora
