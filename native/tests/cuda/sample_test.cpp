// sample against the definition: sorted candidates, sums in double, the same Philox counters.
// Random and tied logits, each filter alone and all together, the vocabulary of Llama 3.
#include <algorithm>
#include <numeric>

#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;
using Logits = std::vector<float>;
using History = std::vector<int32_t>;

struct Choice {
  int32_t token;
  double logprob;
};

double uniform(uint64_t seed, uint32_t counter) {
  uint32_t c[4] = {counter, 0, 0, 0};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
    const uint32_t next[4] = {uint32_t(p1 >> 32) ^ c[1] ^ k0, uint32_t(p1),
                              uint32_t(p0 >> 32) ^ c[3] ^ k1, uint32_t(p0)};
    std::copy_n(next, 4, c);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return double((uint64_t{c[0] >> 5} << 26) | (c[1] >> 6)) / 9007199254740992.0;
}

double logprob_of(const Logits& z, int32_t token) {
  double top = -INFINITY, sum = 0.0;
  for (const float value : z) top = std::max(top, double(value));
  for (const float value : z) sum += std::exp(double(value) - top);
  return double(z[size_t(token)]) - top - std::log(sum);
}

int32_t choose(Logits z, const ops::SamplingRow& row, const History& history) {
  History seen(history.begin() + row.history_begin, history.begin() + row.history_end);
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  const float penalty = row.repetition_penalty;
  if (penalty != 1.0f) {
    for (const int32_t id : seen) {
      float& value = z[size_t(id)];
      value = value > 0 ? value / penalty : value * penalty;
    }
  }
  std::vector<int32_t> order(z.size());
  std::iota(order.begin(), order.end(), 0);
  for (float& value : z) {
    if (std::isnan(value)) value = -INFINITY;
    if (row.temperature > 0) value = value / row.temperature;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return z[size_t(a)] > z[size_t(b)]; });
  const float top = z[size_t(order[0])];
  if (row.temperature == 0 || std::isinf(top)) return order[0];
  const auto weight = [&](int32_t id) { return std::exp(double(z[size_t(id)]) - double(top)); };
  size_t kept = order.size();
  if (row.top_k > 0 && size_t(row.top_k) < order.size()) {
    const float least = z[size_t(order[size_t(row.top_k - 1)])];
    while (kept > 0 && z[size_t(order[kept - 1])] < least) --kept;
  }
  order.resize(kept);
  if (row.top_p < 1) {
    double total = 0.0, above = 0.0;
    for (const int32_t id : order) total += weight(id);
    size_t i = 0;
    for (; i < order.size() && (i == 0 || above < double(row.top_p) * total); ++i) {
      above += weight(order[i]);
    }
    order.resize(i);
  }
  std::sort(order.begin(), order.end());
  Doubles p;
  double total = 0.0, sum = 0.0;
  for (const int32_t id : order) {
    p.push_back(weight(id) < double(row.min_p) ? 0.0 : weight(id));
    total += p.back();
  }
  const double target = uniform(row.seed, row.counter) * total;
  for (size_t i = 0; i < order.size(); ++i) {
    sum += p[i];
    if (sum > target) return order[i];
  }
  return -1;
}

// All rows in one call; every token and log-probability as the definition has it.
void check(const std::string& name, const std::vector<Logits>& rows,
           const std::vector<ops::SamplingRow>& settings, const History& history) {
  const int64_t V = static_cast<int64_t>(rows[0].size()), n = static_cast<int64_t>(rows.size());
  std::vector<float> all;
  for (const Logits& row : rows) all.insert(all.end(), row.begin(), row.end());
  const Buffer<ops::SamplingRow> settings_buffer(settings);
  const Buffer<int32_t> history_buffer(history);
  std::vector<float> logprobs;
  const auto tokens = twice(name, [&] {
    const Buffer<float> logits(all), probabilities(n);
    const Buffer<int32_t> out(n);
    ops::sample(out.data(), probabilities.data(), logits.data(), settings_buffer.data(),
                history_buffer.data(), n, V, device());
    logprobs = probabilities.read();
    return out.read();
  });
  for (int64_t i = 0; i < n; ++i) {
    const int32_t want = choose(rows[size_t(i)], settings[size_t(i)], history);
    expect(tokens[size_t(i)] == want,
           name + " row " + std::to_string(i) + ": token " + std::to_string(tokens[size_t(i)]) +
               ", expected " + std::to_string(want));
    const double logprob = logprob_of(rows[size_t(i)], want);
    if (std::isfinite(logprob)) {
      expect(std::fabs(double(logprobs[size_t(i)]) - logprob) < 2e-5 * (1.0 + std::fabs(logprob)),
             name + " row " + std::to_string(i) + ": log-probability");
    }
  }
}

constexpr ops::SamplingRow kGreedy = {0.0f, 1.0f, 0.0f, 1.0f, 0, 0, 0, 0, 0};

ops::SamplingRow drawing(uint64_t seed) {
  ops::SamplingRow row = kGreedy;
  row.temperature = 1.0f;
  row.seed = seed;
  row.counter = static_cast<uint32_t>(seed * 7);
  return row;
}

// Normal logits; step > 0 rounds them to multiples of it, so that many are equal.
Logits logits_of(int64_t V, uint32_t seed, double std, double step) {
  Logits z = floats(normal_f32(V, seed, std));
  if (step > 0) {
    for (float& value : z) value = static_cast<float>(std::round(double(value) / step) * step);
  }
  return z;
}

CUDA_OP_TEST(sample) {
  const History history = {0, 3, 3, 5, 2, 6, 1, 0};
  for (const int64_t V : {1, 7, 33, 1000, 5003, 128256}) {
    for (const double step : {0.0, 0.5}) {
      std::vector<Logits> rows;
      std::vector<ops::SamplingRow> settings;
      const int draws = V > 100000 ? 3 : 12;
      const auto add = [&](const ops::SamplingRow& row) {
        rows.push_back(logits_of(V, uint32_t(rows.size() + 1), 3.0, step));
        settings.push_back(row);
      };
      add(kGreedy);
      for (int i = 0; i < draws; ++i) {
        ops::SamplingRow row = drawing(uint64_t(i) << 31 | 5);
        add(row);
        row.temperature = 0.7f;
        add(row);
        row.top_k = 1 + 5 * i;
        add(row);
        row.top_p = 0.9f;
        add(row);
        row.min_p = 0.05f;
        add(row);
        row.top_k = 0;
        row.min_p = 0.0f;
        add(row);
        row.top_p = i % 2 == 0 ? 0.3f : 0.999f;
        if (V >= 7) row.repetition_penalty = 1.3f;
        row.history_end = V >= 7 ? 8 : 0;
        add(row);
        row.history_begin = row.history_end / 2;
        row.temperature = 0.0f;
        add(row);
      }
      check(shape("V", V, "step", step > 0 ? "0.5" : "0"), rows, settings, history);
    }
  }
}

CUDA_OP_TEST(sample_edges) {
  const float inf = INFINITY, nan = NAN;
  ops::SamplingRow top_p = drawing(3), top_k = drawing(4), all = drawing(5);
  top_p.top_p = 0.5f;
  top_k.top_k = 2;
  const History none = {0};
  const std::vector<ops::SamplingRow> settings = {kGreedy, top_p, top_k, all};
  check("ties", std::vector<Logits>(4, {1, 3, 3, 2, 3}), settings, none);
  check("all equal", std::vector<Logits>(4, Logits(3000, 0.25f)), settings, none);
  check("zeros of both signs", std::vector<Logits>(4, {-0.0f, 0.0f, -0.0f, -1.0f}), settings, none);
  check("minus infinity", std::vector<Logits>(4, {-inf, -inf, 2, -inf, 1}), settings, none);
  check("nothing but minus infinity", std::vector<Logits>(4, {-inf, -inf}), settings, none);
  check("infinity", std::vector<Logits>(4, {1, inf, 2, inf}), settings, none);
  check("NaN", std::vector<Logits>(4, {nan, 1, nan, 2}), settings, none);
  check("far apart", std::vector<Logits>(4, {-500, 300, 299.9f, 298, -40}), settings, none);
}

// ops.h: the choice depends on the row's own logits, seed and counter.
CUDA_OP_TEST(sample_frequencies) {
  const int64_t V = 5, n = 4096;
  const Logits z = {0.0f, 1.0f, 2.0f, -1.0f, 0.5f};
  std::vector<float> all;
  std::vector<ops::SamplingRow> settings;
  for (int64_t i = 0; i < n; ++i) {
    all.insert(all.end(), z.begin(), z.end());
    settings.push_back(drawing(uint64_t(i)));
  }
  const Buffer<ops::SamplingRow> settings_buffer(settings);
  const Buffer<float> logits(all), logprobs(n);
  const Buffer<int32_t> tokens(n), history(1);
  ops::sample(tokens.data(), logprobs.data(), logits.data(), settings_buffer.data(), history.data(),
              n, V, device());
  Doubles counts(size_t(V), 0.0);
  for (const int32_t token : tokens.read()) counts[size_t(token)] += 1.0 / double(n);
  for (int32_t id = 0; id < V; ++id) {
    const double p = std::exp(logprob_of(z, id));
    expect(std::fabs(counts[size_t(id)] - p) < 5 * std::sqrt(p * (1 - p) / double(n)),
           "frequency of token " + std::to_string(id));
  }
}

}  // namespace
