// cross_entropy_chunk and _finish, sum_squares, accumulate and adamw against double precision.
#include "op_test.h"

namespace {

using op_test::Numbers;
using Doubles = std::vector<double>;

namespace ops = qlora::ops;

struct Loss {
  Numbers nll, dx;
};

// The loss of logits [n, V] against a head [V, H], `step` columns at a time.
Loss cross_entropy(const Numbers& logits, const Numbers& head, const std::vector<int32_t>& ids,
                   const Numbers& weights, int64_t V, int64_t H, int64_t step, bool gradient,
                   qlora::Device& device) {
  const int64_t n = static_cast<int64_t>(ids.size()), ld = step + 3;
  std::vector<ops::SoftmaxState> state(ids.size(), ops::SoftmaxState{NAN, NAN, NAN});
  Loss out{Numbers(ids.size(), NAN), Numbers(gradient ? size_t(n * H) : 0, NAN)};
  Numbers expected(size_t(n * H), NAN);
  for (int64_t first = 0; first < V; first += step) {
    const int64_t C = std::min(step, V - first);
    op_test::Matrix z(n, C, ld), terms(n, C, ld);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = 0; c < C; ++c) z(i, c) = logits[size_t(i * V + first + c)];
    }
    ops::cross_entropy_chunk(state.data(), gradient ? terms.data() : nullptr,
                             gradient ? expected.data() : nullptr, z.data(), ld, ids.data(), first,
                             n, C, H, device);
    EXPECT(terms.guards_intact(), "guards");
    if (!gradient) continue;
    ops::gemm_f32(expected.data(), H, terms.data(), ld, false, head.data() + first * H, H, false, n,
                  H, C, 1.0f, first > 0 ? 1.0f : 0.0f, device);
  }
  ops::Weight w;
  w.out = V;
  w.in = w.ld = H;
  w.plain = head.data();
  ops::cross_entropy_finish(out.nll.data(), gradient ? out.dx.data() : nullptr, state.data(),
                            gradient ? expected.data() : nullptr, w, ids.data(),
                            weights.empty() ? nullptr : weights.data(), n, H, device);
  return out;
}

OP_TEST(cross_entropy_matches_double_precision) {
  const int64_t H = 19;
  for (const int64_t V : {int64_t{1}, int64_t{5}, int64_t{123}, int64_t{4100}}) {
    const int64_t n = 6;
    const Numbers logits = op_test::normal(n * V, 1, 5.0f), weights = op_test::normal(n, 2);
    const Numbers head = op_test::normal(V * H, 3);
    std::vector<int32_t> ids;
    Doubles want_nll, want_dx;
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(static_cast<int32_t>(i * 37 % V));
      double sum = 0.0;
      for (int64_t c = 0; c < V; ++c) sum += std::exp(double(logits[size_t(i * V + c)]));
      want_nll.push_back(std::log(sum) - double(logits[size_t(i * V + ids.back())]));
      for (int64_t h = 0; h < H; ++h) {
        double dx = -double(head[size_t(ids.back() * H + h)]);
        for (int64_t c = 0; c < V; ++c) {
          dx += std::exp(double(logits[size_t(i * V + c)])) / sum * double(head[size_t(c * H + h)]);
        }
        want_dx.push_back(double(weights[size_t(i)]) * dx);
      }
    }
    for (const int64_t step : {V, (V + 2) / 3, std::min<int64_t>(V, 16)}) {
      const std::string name = "V " + std::to_string(V) + " by " + std::to_string(step);
      const auto got = op_test::on_all_thread_counts<float>(name, [&](qlora::Device& device) {
        Loss loss = cross_entropy(logits, head, ids, weights, V, H, step, true, device);
        const Loss alone = cross_entropy(logits, head, ids, {}, V, H, step, false, device);
        EXPECT(op_test::same_bits(loss.nll, alone.nll), name + ": nll");
        loss.nll.insert(loss.nll.end(), loss.dx.begin(), loss.dx.end());
        return loss.nll;
      });
      const auto middle = got.begin() + n;
      op_test::expect_close(Doubles(got.begin(), middle), want_nll, 1e-6, name + " nll");
      op_test::expect_close(Doubles(middle, got.end()), want_dx, 2e-6, name + " dx");
    }
  }
}

OP_TEST(cross_entropy_of_extreme_logits) {
  const Numbers logits = {1000.0f, -1000.0f, 0.0f, -1000.0f, 1000.0f, 0.0f};
  const Numbers head = {1.0f, 2.0f, 4.0f};
  for (const int64_t step : {int64_t{1}, int64_t{2}, int64_t{3}}) {
    const Loss loss =
        cross_entropy(logits, head, {0, 0}, {}, 3, 1, step, true, op_test::device(1));
    const std::string name = "by " + std::to_string(step);
    op_test::expect_close(op_test::doubles(loss.nll), {0.0, 2000.0}, 1e-7, name + " nll");
    op_test::expect_close(op_test::doubles(loss.dx), {0.0, 1.0}, 1e-7, name + " dx");
  }
}

OP_TEST(cross_entropy_passes_on_what_is_not_a_number) {
  for (const int64_t at : {int64_t{3}, int64_t{39}}) {
    Numbers logits(40, 0.0f);
    logits[size_t(at)] = NAN;
    const Loss loss = cross_entropy(logits, Numbers(40, 1.0f), {0}, {}, 40, 1, 16, false,
                                    op_test::device(1));
    EXPECT(std::isnan(loss.nll[0]), "a NaN logit gives a NaN loss");
  }
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
