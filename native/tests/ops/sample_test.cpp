// sample: each filter alone on logits whose outcome is plain, the distribution it draws from, and
// that a row depends on nothing but itself.
#include <algorithm>
#include <map>

#include "op_test.h"

namespace {

using op_test::Numbers;
using qlora::ops::SamplingRow;

constexpr SamplingRow kGreedy = {0.0f, 1.0f, 0.0f, 1.0f, 0, 0, 0, 0, 0};

SamplingRow drawing(uint64_t seed) {
  SamplingRow row = kGreedy;
  row.temperature = 1.0f;
  row.seed = seed;
  return row;
}

struct Choice {
  int32_t token;
  float logprob;
};

Choice choose(Numbers logits, const SamplingRow& row, const std::vector<int32_t>& history = {}) {
  Choice choice = {-1, NAN};
  qlora::ops::sample(&choice.token, &choice.logprob, logits.data(), &row, history.data(), 1,
                     static_cast<int64_t>(logits.size()), op_test::device(1));
  return choice;
}

// How often each token is drawn in `draws` draws with as many seeds.
std::map<int32_t, int> counts(const Numbers& logits, const SamplingRow& row, int draws) {
  std::map<int32_t, int> count;
  for (int seed = 0; seed < draws; ++seed) {
    SamplingRow one = row;
    one.seed = uint64_t(seed);
    ++count[choose(logits, one).token];
  }
  return count;
}

OP_TEST(greedy_takes_the_highest_and_the_lowest_id_on_ties) {
  EXPECT(choose({1.0f, 3.0f, 3.0f, 2.0f}, kGreedy).token == 1, "argmax");
  EXPECT(choose({NAN, -INFINITY, -2.0f, -3.0f}, kGreedy).token == 2, "a NaN is not taken");
  EXPECT(choose({-INFINITY, -INFINITY}, kGreedy).token == 0, "nothing possible");
}

OP_TEST(logprob_is_that_of_the_logits_as_they_came) {
  SamplingRow row = drawing(1);
  row.temperature = 0.5f;
  row.repetition_penalty = 2.0f;
  row.top_k = 1;
  row.history_end = 1;
  const Choice choice = choose({1.0f, 1.9f, 0.5f}, row, {1});
  EXPECT(choice.token == 0, "the penalty moved the choice");
  const double want = 1.0 - std::log(std::exp(1.0) + std::exp(1.9) + std::exp(0.5));
  EXPECT(std::fabs(double(choice.logprob) - want) < 1e-6, std::to_string(choice.logprob));
}

OP_TEST(penalty_divides_positive_and_multiplies_negative_logits_once) {
  SamplingRow row = kGreedy;
  row.repetition_penalty = 2.0f;
  row.history_begin = 1;
  row.history_end = 4;
  const std::vector<int32_t> history = {2, 0, 0, 0, 2};
  EXPECT(choose({3.0f, 1.4f, 1.3f}, row, history).token == 0, "3 / 2 beats 1.4, once");
  EXPECT(choose({3.0f, 1.6f, 1.3f}, row, history).token == 1, "3 / 2 loses to 1.6");
  EXPECT(choose({-1.0f, -1.9f, -3.0f}, row, history).token == 1, "−1 · 2 loses to −1.9");
}

OP_TEST(draws_follow_the_distribution) {
  const Numbers logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  const int draws = 20000;
  const auto plain = counts(logits, drawing(0), draws);
  const double want[] = {0.5, 0.3, 0.2};
  for (int32_t id = 0; id < 3; ++id) {
    const double share = double(plain.at(id)) / draws;
    EXPECT(std::fabs(share - want[id]) < 5 * std::sqrt(0.25 / draws), std::to_string(share));
  }
  SamplingRow cold = drawing(0);
  cold.temperature = 0.5f;  // squares the odds: .25, .09, .04 of .38
  const double share = double(counts(logits, cold, draws).at(0)) / draws;
  EXPECT(std::fabs(share - 0.25 / 0.38) < 5 * std::sqrt(0.25 / draws), std::to_string(share));
}

OP_TEST(filters_keep_what_they_state) {
  const Numbers logits = {std::log(0.2f), std::log(0.5f), std::log(0.05f), std::log(0.25f)};
  const auto kept = [&](SamplingRow row) {
    std::vector<int32_t> ids;
    for (const auto& entry : counts(logits, row, 400)) ids.push_back(entry.first);
    return ids;
  };
  SamplingRow row = drawing(0);
  row.top_k = 2;
  EXPECT((kept(row) == std::vector<int32_t>{1, 3}), "top-k 2");
  row = drawing(0);
  row.top_p = 0.7f;  // .5 is not enough, .5 + .25 is
  EXPECT((kept(row) == std::vector<int32_t>{1, 3}), "top-p .7");
  row.top_p = 0.01f;
  EXPECT((kept(row) == std::vector<int32_t>{1}), "top-p keeps one at least");
  row = drawing(0);
  row.min_p = 0.3f;  // of .5: .15
  EXPECT((kept(row) == std::vector<int32_t>{0, 1, 3}), "min-p .3");
  row.top_k = 1;
  row.min_p = 1.0f;
  EXPECT((kept(row) == std::vector<int32_t>{1}), "together");
  const Numbers tied = {1.0f, 1.0f, 1.0f, 0.0f};
  row = drawing(0);
  row.top_k = 2;
  EXPECT(counts(tied, row, 400).size() == 3, "top-k keeps ties, as transformers does");
}

OP_TEST(a_row_depends_on_itself_alone) {
  const int64_t V = 300, rows = 7;
  const Numbers logits = op_test::normal(rows * V, 1, 3.0f);
  std::vector<SamplingRow> settings;
  for (int64_t i = 0; i < rows; ++i) {
    SamplingRow row = drawing(uint64_t(i) << 33);
    row.counter = uint32_t(i);
    row.top_p = 0.9f;
    settings.push_back(row);
  }
  const auto together = op_test::on_all_thread_counts<int32_t>("sample", [&](qlora::Device& d) {
    std::vector<int32_t> tokens(size_t(rows), -1);
    Numbers logprobs(static_cast<size_t>(rows)), copy = logits;
    qlora::ops::sample(tokens.data(), logprobs.data(), copy.data(), settings.data(), nullptr, rows,
                       V, d);
    return tokens;
  });
  for (int64_t i = 0; i < rows; ++i) {
    const auto begin = logits.begin() + i * V;
    EXPECT(choose(Numbers(begin, begin + V), settings[size_t(i)]).token == together[size_t(i)],
           "row " + std::to_string(i));
  }
  SamplingRow later = settings[0];
  int differing = 0;
  for (uint32_t counter = 1; counter < 20; ++counter) {
    later.counter = counter;
    differing += choose(Numbers(logits.begin(), logits.begin() + V), later).token != together[0];
  }
  EXPECT(differing > 0, "another counter draws anew");
}

}  // namespace
