// Cross-entropy, the sum of squares, AdamW.
#include <algorithm>

#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

void check_cross_entropy(int64_t n, int64_t V, bool with_weights, double spread) {
  const std::string name = shape("n", n, "V", V, with_weights ? "weighted" : "plain");
  const Doubles logits = normal_f32(n * V, 1, spread), weights = normal_f32(n, 2);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>((i * 7919 + V - 1) % V));
  Doubles nll, d(logits.size()), naive(logits.size());
  for (int64_t i = 0; i < n; ++i) {
    const double* z = logits.data() + i * V;
    const double top = *std::max_element(z, z + V), w = with_weights ? weights[size_t(i)] : 1.0;
    double sum = 0.0;
    for (int64_t c = 0; c < V; ++c) sum += std::exp(z[c] - top);
    nll.push_back(top + std::log(sum) - z[ids[size_t(i)]]);
    for (int64_t c = 0; c < V; ++c) {
      const double p = std::exp(z[c] - top) / sum, hot = c == ids[size_t(i)] ? 1.0 : 0.0;
      d[size_t(i * V + c)] = w * (p - hot);
      naive[size_t(i * V + c)] = bf16(bf16(w) * bf16(bf16(p) - hot));
    }
  }
  const Buffer<float> z = f32_buffer(logits), w = f32_buffer(weights);
  const Buffer<int32_t> target(ids);
  const float* const weight = with_weights ? w.data() : nullptr;
  std::vector<float> losses;
  const auto gradient = twice(name, [&] {
    const Matrix grad(n, V, V);
    const Buffer<float> loss(n);
    ops::cross_entropy(loss.data(), grad.data(), z.data(), target.data(), weight, n, V, device());
    losses = loss.read();
    return grad.read();
  });
  compare(name + " gradient", gradient, d, naive);
  compare_within(name, doubles(losses), nll, 1e-5);
  const Buffer<float> loss(n);
  ops::cross_entropy(loss.data(), nullptr, z.data(), target.data(), weight, n, V, device());
  expect(loss.read() == losses, name + ": without a gradient the loss differs");
}

CUDA_OP_TEST(cross_entropy) {
  check_cross_entropy(1, 2, false, 1.0);
  check_cross_entropy(5, 123, true, 3.0);
  check_cross_entropy(7, 8192, true, 10.0);
  check_cross_entropy(3, 128256, true, 3.0);
  check_cross_entropy(2, 50257, false, 40.0);
}

void check_sum_squares(int64_t offset) {
  for (const int64_t count : {1, 255, 4097, 1000003}) {
    const Doubles x = normal_f32(count, 1);
    double want = 0.0;
    for (const double value : x) want += value * value;
    const Buffer<float> in(floats(x), offset);
    const auto got = twice(shape("count", count, "offset", offset), [&] {
      const Buffer<double> result(1);
      ops::sum_squares(result.data(), in.data(), count, device());
      return result.read();
    });
    compare_within(shape("count", count, "offset", offset), got, {want}, 1e-12);
  }
}

CUDA_OP_TEST(sum_squares) {
  check_sum_squares(0);
  check_sum_squares(1);
}

void check_adamw(int64_t offset) {
  for (const int64_t count : {1, 1001, 50000}) {
    const std::string name = shape("count", count, "offset", offset);
    Doubles p = normal_f32(count, 1), m(p.size(), 0.0), v(p.size(), 0.0);
    const Buffer<float> param(floats(p), offset), mean(floats(m)), square(floats(v));
    for (int step = 1; step <= 3; ++step) {
      ops::AdamW options{};
      options.learning_rate = 2e-3;
      options.beta1 = 0.9;
      options.beta2 = 0.999;
      options.epsilon = 1e-8;
      options.weight_decay = 0.01;
      options.step = step;
      options.grad_scale = 0.125f;
      const Doubles grad = normal_f32(count, uint32_t(step + 1));
      const Buffer<float> g = f32_buffer(grad);
      ops::adamw(param.data(), mean.data(), square.data(), g.data(), count, options, device());
      for (size_t i = 0; i < p.size(); ++i) {
        const double scaled = 0.125 * grad[i];
        m[i] = 0.9 * m[i] + 0.1 * scaled;
        v[i] = 0.999 * v[i] + 0.001 * scaled * scaled;
        const double size = std::sqrt(v[i] / (1 - std::pow(0.999, step))) + 1e-8;
        p[i] = p[i] * (1 - 2e-3 * 0.01) - 2e-3 / (1 - std::pow(0.9, step)) * m[i] / size;
      }
    }
    compare_within(name + " param", doubles(param.read()), p, 2e-6);
    compare_within(name + " mean", doubles(mean.read()), m, 2e-6);
    compare_within(name + " square", doubles(square.read()), v, 2e-6);
  }
}

CUDA_OP_TEST(adamw) {
  check_adamw(0);
  check_adamw(1);
}

}  // namespace
