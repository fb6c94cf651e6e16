// sample, a row of logits z, in the order of transformers:
//   penalty      z ← z / r where z > 0, z · r elsewhere, once for each id in the history
//   temperature  z ← z / temperature; 0 takes the highest z now, the lowest id on ties
//   top-k        keeps z ≥ the k-th highest
//   top-p        keeps an id when the ids above it hold less than top_p (ties: lower ids first)
//   min-p        keeps p ≥ min_p · max p
// and then takes the first kept id, in id order, at which the running sum of e^z exceeds u · Σ e^z,
// u = ((word 0 >> 5) · 2²⁶ + (word 1 >> 6)) · 2⁻⁵³ of philox(counter (counter, 0, 0, 0), key seed).
// logprob: of the token under softmax(z) as z came. A NaN logit is never taken.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_device.h"
#include "philox.h"

namespace qlora {
namespace {

constexpr float kNever = -INFINITY;

int32_t argmax(const float* z, int64_t V) {
  int64_t best = 0;
  for (int64_t c = 1; c < V; ++c) {
    if (z[c] > z[best] || (std::isnan(z[best]) && !std::isnan(z[c]))) best = c;
  }
  return static_cast<int32_t>(best);
}

double log_sum_exp(const float* z, int64_t V, float top) {
  double sum = 0.0;
  for (int64_t c = 0; c < V; ++c) sum += std::exp(static_cast<double>(z[c] - top));
  return static_cast<double>(top) + std::log(sum);
}

void penalise(float* z, const int32_t* history, int64_t begin, int64_t end, float penalty) {
  if (penalty == 1.0f) return;
  std::vector<int32_t> seen(history + begin, history + end);
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int32_t id : seen) z[id] = z[id] > 0.0f ? z[id] / penalty : z[id] * penalty;
}

void keep_top_k(float* z, int64_t V, int64_t k) {
  if (k <= 0 || k >= V) return;
  std::vector<float> sorted(z, z + V);
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(),
                   [](float a, float b) { return a > b; });
  const float least = sorted[size_t(k - 1)];
  for (int64_t c = 0; c < V; ++c) {
    if (!(z[c] >= least)) z[c] = kNever;
  }
}

void keep_top_p(float* z, int64_t V, float top_p, float top) {
  if (top_p >= 1.0f) return;
  std::vector<int32_t> ids;
  double total = 0.0;
  for (int64_t c = 0; c < V; ++c) {
    if (z[c] == kNever) continue;
    ids.push_back(static_cast<int32_t>(c));
    total += std::exp(static_cast<double>(z[c] - top));
  }
  std::sort(ids.begin(), ids.end(),
            [z](int32_t a, int32_t b) { return z[a] > z[b] || (z[a] == z[b] && a < b); });
  const double bound = static_cast<double>(top_p) * total;
  double above = 0.0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const double p = std::exp(static_cast<double>(z[ids[i]] - top));
    if (i > 0 && above >= bound) z[ids[i]] = kNever;
    above += p;
  }
}

void keep_min_p(float* z, int64_t V, float min_p, float top) {
  if (min_p <= 0.0f) return;
  const float least = top + std::log(std::min(min_p, 1.0f));
  for (int64_t c = 0; c < V; ++c) {
    if (!(z[c] >= least)) z[c] = kNever;
  }
}

double uniform(uint64_t seed, uint32_t counter) {
  const cpu::PhiloxWords words = cpu::philox(counter, 0, 0, 0, static_cast<uint32_t>(seed),
                                             static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = (uint64_t{words.word[0] >> 5} << 26) | (words.word[1] >> 6);
  return static_cast<double>(bits) * 0x1p-53;
}

int32_t draw(const float* z, int64_t V, float top, double u) {
  double total = 0.0;
  for (int64_t c = 0; c < V; ++c) total += std::exp(static_cast<double>(z[c] - top));
  double sum = 0.0;
  int32_t last = argmax(z, V);
  for (int64_t c = 0; c < V; ++c) {
    if (z[c] == kNever) continue;
    sum += std::exp(static_cast<double>(z[c] - top));
    last = static_cast<int32_t>(c);
    if (sum > u * total) break;
  }
  return last;
}

int32_t choose(float* z, int64_t V, const ops::SamplingRow& row, const int32_t* history) {
  penalise(z, history, row.history_begin, row.history_end, row.repetition_penalty);
  if (row.temperature <= 0.0f) return argmax(z, V);
  for (int64_t c = 0; c < V; ++c) z[c] = std::isnan(z[c]) ? kNever : z[c] / row.temperature;
  const float top = z[argmax(z, V)];
  keep_top_k(z, V, row.top_k);
  keep_top_p(z, V, row.top_p, top);
  keep_min_p(z, V, row.min_p, top);
  return draw(z, V, top, uniform(row.seed, row.counter));
}

}  // namespace

void ops::sample(int32_t* tokens, float* logprobs, float* logits, const SamplingRow* rows_settings,
                 const int32_t* history, int64_t rows, int64_t V, Device& d) {
  cpu::cpu_device(d).parallel(rows, [&](int64_t i, int) {
    float* const z = logits + i * V;
    const double lse = log_sum_exp(z, V, z[argmax(z, V)]);
    // The logits are about to change, and the token is not known yet: keep them.
    const std::vector<float> unmodified(z, z + V);
    tokens[i] = choose(z, V, rows_settings[i], history);
    const double logit = static_cast<double>(unmodified[size_t(tokens[i])]);
    logprobs[i] = static_cast<float>(logit - lse);
  });
}

}  // namespace qlora
