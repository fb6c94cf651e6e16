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
#include "kernels.h"
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

struct Candidate {
  float z;
  int32_t id;
  // The higher logit first, the lower id on ties.
  bool operator<(const Candidate& other) const {
    return z > other.z || (z == other.z && id < other.id);
  }
};

// Ids whose weight p = e^(z − max z) is at least `least`, and the sum of their weights.
std::vector<Candidate> candidates_from(const std::vector<float>& p, const float* z, float least,
                                       double* mass) {
  std::vector<Candidate> candidates;
  *mass = 0.0;
  for (size_t c = 0; c < p.size(); ++c) {
    if (p[c] < least || p[c] == 0.0f) continue;
    candidates.push_back({z[c], static_cast<int32_t>(c)});
    *mass += static_cast<double>(p[c]);
  }
  return candidates;
}

// Sets the weights of all others to 0. Only as many ids are sorted as hold the mass asked for.
void keep_top_p(std::vector<float>& p, const float* z, float top_p, double total) {
  if (top_p >= 1.0f) return;
  const double bound = static_cast<double>(top_p) * total;
  double mass = 0.0;
  float least = 0.125f;
  std::vector<Candidate> candidates = candidates_from(p, z, least, &mass);
  while (mass < bound && least > 0.0f) {
    least = least > 1e-9f ? least / 32.0f : 0.0f;
    candidates = candidates_from(p, z, least, &mass);
  }
  std::sort(candidates.begin(), candidates.end());
  std::vector<float> kept(p.size(), 0.0f);
  double above = 0.0;
  for (size_t i = 0; i < candidates.size() && (i == 0 || above < bound); ++i) {
    const size_t id = static_cast<size_t>(candidates[i].id);
    kept[id] = p[id];
    above += static_cast<double>(p[id]);
  }
  p.swap(kept);
}

double uniform(uint64_t seed, uint32_t counter) {
  const cpu::PhiloxWords words =
      cpu::philox(counter, 0, 0, 0, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const uint64_t bits = (uint64_t{words.word[0] >> 5} << 26) | (words.word[1] >> 6);
  return static_cast<double>(bits) / 9007199254740992.0;  // 2⁵³
}

int32_t draw(const std::vector<float>& p, double u) {
  double total = 0.0;
  for (const float weight : p) total += static_cast<double>(weight);
  double sum = 0.0;
  size_t last = 0;
  for (size_t c = 0; c < p.size(); ++c) {
    if (p[c] == 0.0f) continue;
    sum += static_cast<double>(p[c]);
    last = c;
    if (sum > u * total) break;
  }
  return static_cast<int32_t>(last);
}

int32_t choose(float* z, int64_t V, const ops::SamplingRow& row, const int32_t* history) {
  penalise(z, history, row.history_begin, row.history_end, row.repetition_penalty);
  if (row.temperature <= 0.0f) return argmax(z, V);
  for (int64_t c = 0; c < V; ++c) z[c] = z[c] / row.temperature;
  for (int64_t c = 0; c < V; ++c) z[c] = std::isnan(z[c]) ? kNever : z[c];
  keep_top_k(z, V, row.top_k);
  std::vector<float> p(static_cast<size_t>(V));
  float top = 0.0f;
  const double total = cpu::kernels().row.softmax_terms(p.data(), z, V, &top);
  if (!(top > kNever) || !std::isfinite(top)) return argmax(z, V);
  keep_top_p(p, z, row.top_p, total);
  for (float& weight : p) weight = weight < row.min_p ? 0.0f : weight;  // p of the best is 1
  return draw(p, uniform(row.seed, row.counter));
}

}  // namespace

void ops::sample(int32_t* tokens, float* logprobs, float* logits, const SamplingRow* rows_settings,
                 const int32_t* history, int64_t rows, int64_t V, Device& d) {
  cpu::cpu_device(d).parallel(rows, [&](int64_t i, int) {
    float* const z = logits + i * V;
    const std::vector<float> unmodified(z, z + V);
    float top = 0.0f;
    const double sum = cpu::kernels().row.softmax_terms(nullptr, z, V, &top);
    tokens[i] = choose(z, V, rows_settings[i], history);
    const double logit = static_cast<double>(unmodified[size_t(tokens[i])]);
    logprobs[i] = static_cast<float>(logit - static_cast<double>(top) - std::log(sum));
  });
}

}  // namespace qlora
