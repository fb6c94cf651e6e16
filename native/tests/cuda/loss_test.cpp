// Cross-entropy, the sum of squares, AdamW.
#include <algorithm>

#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

struct Loss {
  std::vector<float> nll;
  Doubles dx;
};

// The loss of logits [n, V] against a head [V, H] in bf16, `step` columns at a time.
Loss run_cross_entropy(const Doubles& logits, const Matrix& head, const Buffer<int32_t>& ids,
                       const float* weights, int64_t n, int64_t V, int64_t H, int64_t step,
                       bool gradient) {
  const int64_t ld = step;
  const Buffer<float> nll(n), expected(n * H);
  const Buffer<double> state(2 * n);  // of SoftmaxState's size and alignment; NaN at first
  auto* const states = reinterpret_cast<ops::SoftmaxState*>(state.data());
  const Matrix dx(n, H, H);
  for (int64_t first = 0; first < V; first += step) {
    const int64_t C = std::min(step, V - first);
    std::vector<float> chunk(size_t(n * ld), NAN);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t c = 0; c < C; ++c) {
        chunk[size_t(i * ld + c)] = static_cast<float>(logits[size_t(i * V + first + c)]);
      }
    }
    const Buffer<float> z(chunk);
    const Matrix terms(n, C, ld);
    ops::cross_entropy_chunk(states, gradient ? terms.data() : nullptr,
                             gradient ? expected.data() : nullptr, z.data(), ld, ids.data(), first,
                             n, C, H, device());
    if (gradient) {
      terms.read();  // checks the gaps
      ops::gemm_f32(expected.data(), H, terms.data(), ld, false, head.data() + first * head.ld(),
                    head.ld(), false, n, H, C, 1.0f, first > 0 ? 1.0f : 0.0f, device());
    }
    device().synchronize();
  }
  ops::Weight w;
  w.out = V;
  w.in = H;
  w.ld = head.ld();
  w.plain = head.data();
  ops::cross_entropy_finish(nll.data(), gradient ? dx.data() : nullptr, states,
                            gradient ? expected.data() : nullptr, w, ids.data(), weights, n, H,
                            device());
  return {nll.read(), gradient ? dx.read() : Doubles()};
}

void check_cross_entropy(int64_t n, int64_t V, int64_t H, int64_t step, bool with_weights,
                         double spread) {
  const std::string name =
      shape("n", n, "V", V, "H", H, "by", step, with_weights ? "weighted" : "plain");
  const Doubles logits = normal_f32(n * V, 1, spread), weights = normal_f32(n, 2);
  const Doubles rows = normal_bf16(V * H, 3, 0.02);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>((i * 7919 + V - 1) % V));
  Doubles nll, want(size_t(n * H), 0.0), naive = want;
  for (int64_t i = 0; i < n; ++i) {
    const double* z = logits.data() + i * V;
    const double top = *std::max_element(z, z + V), w = with_weights ? weights[size_t(i)] : 1.0;
    double sum = 0.0;
    for (int64_t c = 0; c < V; ++c) sum += std::exp(z[c] - top);
    nll.push_back(top + std::log(sum) - z[ids[size_t(i)]]);
    for (int64_t c = 0; c < V; ++c) {
      const double p = std::exp(z[c] - top) / sum, hot = c == ids[size_t(i)] ? 1.0 : 0.0;
      const double d = bf16(bf16(w) * bf16(bf16(p) - hot));
      for (int64_t h = 0; h < H; ++h) {
        want[size_t(i * H + h)] += w * (p - hot) * rows[size_t(c * H + h)];
        naive[size_t(i * H + h)] += d * rows[size_t(c * H + h)];
      }
    }
  }
  const Matrix head(rows, V, H, (H + 7) / 8 * 8);
  const Buffer<float> w = f32_buffer(weights);
  const Buffer<int32_t> target(ids);
  const float* const weight = with_weights ? w.data() : nullptr;
  std::vector<float> losses;
  const auto gradient = twice(name, [&] {
    Loss loss = run_cross_entropy(logits, head, target, weight, n, V, H, step, true);
    losses = loss.nll;
    return loss.dx;
  });
  compare(name + " gradient", gradient, want, bf16(naive));
  compare_within(name, doubles(losses), nll, 1e-5);
  const Loss alone = run_cross_entropy(logits, head, target, weight, n, V, H, step, false);
  expect(alone.nll == losses, name + ": without a gradient the loss differs");
}

CUDA_OP_TEST(cross_entropy) {
  check_cross_entropy(1, 2, 8, 2, false, 1.0);
  check_cross_entropy(5, 123, 17, 123, true, 3.0);
  check_cross_entropy(5, 123, 17, 40, true, 3.0);
  check_cross_entropy(5, 123, 24, 7, false, 3.0);
  check_cross_entropy(7, 8192, 64, 4096, true, 10.0);
  check_cross_entropy(130, 4100, 128, 1040, true, 3.0);
  check_cross_entropy(3, 128256, 32, 16032, true, 3.0);
  check_cross_entropy(2, 50257, 40, 12576, false, 40.0);
  check_cross_entropy(3, 20000, 8200, 20000, false, 2.0);
}

// Host memory that ops use as the device's own, and copies beside them.
CUDA_OP_TEST(host_memory) {
  const int64_t rows = 300, H = 72;
  const size_t bytes = size_t(rows * H) * sizeof(act_t);
  const Doubles values = normal_bf16(rows * H, 5);
  const Matrix source(values, rows, H, H), gathered(4, H, H), copied(rows, H, H), back(rows, H, H);
  void* const block = device().allocate_host(bytes);
  act_t* const host = static_cast<act_t*>(block);
  device().copy(host, source.data(), bytes);  // written by the device
  const std::vector<int32_t> picks = {299, 0, 7, 7};
  const Buffer<int32_t> ids(picks);
  ops::embedding_forward(gathered.data(), ids.data(), host, 4, H, device());
  Doubles want;
  for (const int32_t id : picks) {
    want.insert(want.end(), values.begin() + id * H, values.begin() + (id + 1) * H);
  }
  expect(gathered.read() == want, "rows read over the bus");
  // In two pieces, as the head is streamed; the second waits for what reads the first.
  const int64_t half = rows / 2;
  device().copy_ahead(copied.data(), host, size_t(half * H) * sizeof(act_t));
  device().await_copies();
  device().copy(back.data(), copied.data(), size_t(half * H) * sizeof(act_t));
  device().copy_ahead(copied.data() + half * H, host + half * H,
                      size_t((rows - half) * H) * sizeof(act_t));
  device().await_copies();
  device().copy(back.data() + half * H, copied.data() + half * H,
                size_t((rows - half) * H) * sizeof(act_t));
  expect(back.read() == values, "copied beside the ops");
  // The host's side of it, and an op that writes it.
  std::vector<char> bits(bytes);
  device().copy_to_host(bits.data(), host, bytes);
  device().fill_zero(host, bytes);
  device().copy(back.data(), host, bytes);
  expect(back.read() == Doubles(values.size(), 0.0), "cleared");
  device().copy_to_device(host, bits.data(), bytes);
  device().copy(back.data(), host, bytes);
  expect(back.read() == values, "through the host");
  const Buffer<float> zeros = f32_buffer(Doubles(size_t(rows * H / 2), 0.0));
  ops::scale_cast(host, H, zeros.data(), rows, H / 2, 1.0f, device());
  ops::gather_rows(gathered.data(), host, H, ids.data(), 4, H, device());
  Doubles half_zero = want;
  for (size_t i = 0; i < half_zero.size(); ++i) {
    if (int64_t(i) % H < H / 2) half_zero[i] = 0.0;
  }
  expect(gathered.read() == half_zero, "written over the bus");
  device().synchronize();
  device().release_host(block);
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
