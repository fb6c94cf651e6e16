// cross_entropy, sum_squares, accumulate and adamw against double precision.
#include "op_test.h"

namespace {

using op_test::Numbers;
using Doubles = std::vector<double>;

OP_TEST(cross_entropy_matches_double_precision) {
  for (const int64_t V : {int64_t{1}, int64_t{5}, int64_t{123}, int64_t{4100}}) {
    const int64_t n = 6;
    const std::string name = "V " + std::to_string(V);
    const Numbers logits = op_test::normal(n * V, 1, 5.0f), weights = op_test::normal(n, 2);
    std::vector<int32_t> ids;
    Doubles want_nll, want_gradient;
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(static_cast<int32_t>(i * 37 % V));
      double sum = 0.0;
      for (int64_t c = 0; c < V; ++c) sum += std::exp(double(logits[size_t(i * V + c)]));
      want_nll.push_back(std::log(sum) - double(logits[size_t(i * V + ids.back())]));
      for (int64_t c = 0; c < V; ++c) {
        const double p = std::exp(double(logits[size_t(i * V + c)])) / sum;
        want_gradient.push_back(double(weights[size_t(i)]) * (p - (c == ids.back() ? 1.0 : 0.0)));
      }
    }
    const auto got = op_test::on_all_thread_counts<float>(name, [&](qlora::Device& device) {
      Numbers nll(size_t(n), NAN), apart(size_t(n * V), NAN), in_place = logits;
      qlora::ops::cross_entropy(nll.data(), apart.data(), logits.data(), ids.data(), weights.data(),
                                n, V, device);
      Numbers again(size_t(n), NAN), alone(size_t(n), NAN);
      qlora::ops::cross_entropy(again.data(), in_place.data(), in_place.data(), ids.data(),
                                weights.data(), n, V, device);
      qlora::ops::cross_entropy(alone.data(), nullptr, logits.data(), ids.data(), nullptr, n, V,
                                device);
      EXPECT(op_test::same_bits(apart, in_place), name + ": in place");
      EXPECT(op_test::same_bits(nll, again) && op_test::same_bits(nll, alone), name + ": nll");
      nll.insert(nll.end(), apart.begin(), apart.end());
      return nll;
    });
    const auto middle = got.begin() + n;
    op_test::expect_close(Doubles(got.begin(), middle), want_nll, 1e-6, name + " nll");
    op_test::expect_close(Doubles(middle, got.end()), want_gradient, 1e-6, name + " gradient");
  }
}

OP_TEST(cross_entropy_of_extreme_logits) {
  const Numbers logits = {1000.0f, -1000.0f, 0.0f, -1000.0f, 1000.0f, 0.0f};
  const std::vector<int32_t> ids = {0, 0};
  Numbers nll(2, NAN), gradient(6, NAN);
  qlora::ops::cross_entropy(nll.data(), gradient.data(), logits.data(), ids.data(), nullptr, 2, 3,
                            op_test::device(1));
  op_test::expect_close(op_test::doubles(nll), {0.0, 2000.0}, 1e-7, "nll");
  op_test::expect_close(op_test::doubles(gradient), {0, 0, 0, -1, 1, 0}, 1e-7, "gradient");
}

OP_TEST(cross_entropy_passes_on_what_is_not_a_number) {
  Numbers logits(40, 0.0f);
  logits[3] = NAN;
  const std::vector<int32_t> ids = {0};
  Numbers nll(1, 0.0f);
  qlora::ops::cross_entropy(nll.data(), nullptr, logits.data(), ids.data(), nullptr, 1, 40,
                            op_test::device(1));
  EXPECT(std::isnan(nll[0]), "a NaN logit gives a NaN loss");
}

OP_TEST(sums_match_double_precision) {
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{8191}, int64_t{100003}}) {
    const std::string name = "count " + std::to_string(count);
    const Numbers x = op_test::normal(count, 1), y = op_test::normal(count, 2);
    double want = 0.0;
    Doubles want_sum;
    for (size_t i = 0; i < x.size(); ++i) {
      want += double(x[i]) * double(x[i]);
      want_sum.push_back(double(x[i]) + double(y[i]));
    }
    const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
      Doubles result(1, NAN);
      qlora::ops::sum_squares(result.data(), x.data(), count, device);
      return result;
    });
    op_test::expect_close(got, {want}, 1e-13, name);
    Numbers sum = x;
    qlora::ops::accumulate(sum.data(), y.data(), count, op_test::device(2));
    op_test::expect_close(op_test::doubles(sum), want_sum, 1e-7, name + " accumulate");
  }
}

OP_TEST(adamw_takes_the_steps_of_its_formula) {
  const int64_t count = 1003;
  const Numbers start = op_test::normal(count, 1);
  const auto got = op_test::on_all_thread_counts<float>("adamw", [&](qlora::Device& device) {
    Numbers param = start, m(size_t(count), 0.0f), v = m;
    for (int64_t step = 1; step <= 5; ++step) {
      const Numbers grad = op_test::normal(count, uint32_t(10 + step));
      const qlora::ops::AdamW options = {1e-2, 0.9, 0.999, 1e-8, 0.1, step, 0.25f};
      qlora::ops::adamw(param.data(), m.data(), v.data(), grad.data(), count, options, device);
    }
    return param;
  });
  Doubles param = op_test::doubles(start), m(size_t(count), 0.0), v = m;
  for (int64_t step = 1; step <= 5; ++step) {
    const Numbers grad = op_test::normal(count, uint32_t(10 + step));
    for (size_t i = 0; i < param.size(); ++i) {
      const double g = 0.25 * double(grad[i]);
      param[i] *= 1.0 - 1e-2 * 0.1;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      const double size = std::sqrt(v[i] / (1.0 - std::pow(0.999, double(step)))) + 1e-8;
      param[i] -= 1e-2 * m[i] / (1.0 - std::pow(0.9, double(step))) / size;
    }
  }
  op_test::expect_close(op_test::doubles(got), param, 1e-6, "param");
}

}  // namespace
