// attention forward and backward over packed sequences with and without a shared prefix: heads that
// take the tensor-core kernels and heads that do not, segments that fill no tile, prefixes long
// enough to be summed in parts.
#include <algorithm>
#include <memory>
#include <utility>

#include "cuda_test.h"
#ifdef QLORA_CUDA_OPS
#include "attention_path.h"
#endif

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

struct Setup {
  int64_t P;
  std::vector<int64_t> sizes;  // of the sequences
  int64_t Q, G, D;
  int64_t gap;  // between rows; 8 keeps them aligned
  double std = 1.0;
};

struct Batch {
  std::vector<int32_t> cu;
  ops::AttentionShape shape;
};

Batch batch_of(const Setup& x) {
  Batch batch;
  int64_t T = x.P, longest = x.P;
  batch.cu.push_back(static_cast<int32_t>(T));
  for (const int64_t size : x.sizes) {
    T += size;
    longest = std::max(longest, size);
    batch.cu.push_back(static_cast<int32_t>(T));
  }
  batch.shape = {T,       x.P,    static_cast<int64_t>(x.sizes.size()), x.Q, x.G, x.D, longest,
                 nullptr, nullptr};
  return batch;
}

struct Results {
  Doubles out, lse, dq, dk, dv;
};

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// The tokens t sees, in order.
std::vector<int64_t> seen_by(const Batch& batch, int64_t t) {
  std::vector<int64_t> seen;
  int64_t begin = 0;
  for (const int32_t start : batch.cu) {
    if (start <= t) begin = start;
  }
  for (int64_t j = 0; j <= t; ++j) {
    if (t < batch.shape.P || j < batch.shape.P || j >= begin) seen.push_back(j);
  }
  return seen;
}

// Forward and backward in double; rounded: after every step, as bf16 tensors would be.
Results reference(const Batch& batch, const Doubles& qkv, const Doubles& dout, bool rounded) {
  const ops::AttentionShape& s = batch.shape;
  const int64_t T = s.T, D = s.D, width = (s.Q + 2 * s.G) * D;
  const double scale = 1.0 / std::sqrt(double(D));
  const auto round = [&](double x) { return rounded ? bf16(x) : x; };
  Results r;
  r.out.assign(size_t(T * s.Q * D), 0.0);
  r.lse.assign(size_t(s.Q * T), 0.0);
  r.dq.assign(size_t(T * s.Q * D), 0.0);
  r.dk.assign(size_t(T * s.G * D), 0.0);
  r.dv = r.dk;
  Doubles p(static_cast<size_t>(T));
  for (int64_t t = 0; t < T; ++t) {
    const std::vector<int64_t> seen = seen_by(batch, t);
    for (int64_t h = 0; h < s.Q; ++h) {
      const int64_t g = h / (s.Q / s.G), k_column = (s.Q + g) * D, v_column = k_column + s.G * D;
      const double* const q = &qkv[size_t(t * width + h * D)];
      const double* const d_out = &dout[size_t((t * s.Q + h) * D)];
      double* const out = &r.out[size_t((t * s.Q + h) * D)];
      double top = -INFINITY, sum = 0.0;
      for (const int64_t j : seen) {
        p[size_t(j)] = round(dot(q, &qkv[size_t(j * width + k_column)], D)) * scale;
        top = std::max(top, p[size_t(j)]);
      }
      for (const int64_t j : seen) sum += std::exp(p[size_t(j)] - top);
      for (const int64_t j : seen) {
        p[size_t(j)] = round(std::exp(p[size_t(j)] - top) / sum);
        for (int64_t i = 0; i < D; ++i) {
          out[i] += p[size_t(j)] * qkv[size_t(j * width + v_column + i)];
        }
      }
      for (int64_t i = 0; i < D; ++i) out[i] = round(out[i]);
      r.lse[size_t(h * T + t)] = top + std::log(sum);
      const double delta = dot(d_out, out, D);
      for (const int64_t j : seen) {
        const double dp = round(dot(d_out, &qkv[size_t(j * width + v_column)], D));
        const double ds = round(p[size_t(j)] * (dp - delta)) * scale;
        for (int64_t i = 0; i < D; ++i) {
          const size_t at = size_t((j * s.G + g) * D + i);
          r.dv[at] += p[size_t(j)] * d_out[i];
          r.dk[at] += ds * q[i];
          r.dq[size_t((t * s.Q + h) * D + i)] += ds * qkv[size_t(j * width + k_column + i)];
        }
      }
    }
  }
  if (rounded) {
    for (Doubles* part : {&r.dq, &r.dk, &r.dv}) *part = bf16(*part);
  }
  return r;
}

// Columns [first, first + count) of rows of `width`.
Doubles columns(const Doubles& x, int64_t width, int64_t first, int64_t count) {
  Doubles part;
  for (size_t row = 0; row < x.size(); row += size_t(width)) {
    const auto begin = x.begin() + int64_t(row) + first;
    part.insert(part.end(), begin, begin + count);
  }
  return part;
}

std::string name_of(const Setup& x, const Batch& batch) {
  return shape("P", x.P, "S", x.sizes.size(), "T", batch.shape.T, "Q", x.Q, "G", x.G, "D", x.D,
               "gap", x.gap);
}

// Runs run(name) on every set of kernels that this device can take.
template <class Run>
void on_every_path(const Run& run) {
#ifdef QLORA_CUDA_OPS
  using qlora::cuda::AttentionPath;
  const std::pair<AttentionPath, const char*> paths[] = {{AttentionPath::small_tiles, "small "},
                                                         {AttentionPath::large_tiles, "large "},
                                                         {AttentionPath::hopper, "hopper "}};
  for (const auto& path : paths) {
    if (qlora::cuda::select_attention_path(path.first, device())) run(std::string(path.second));
  }
  qlora::cuda::select_attention_path(AttentionPath::automatic, device());
#else
  run(std::string());
#endif
}

void check(const Setup& setup) {
  const Batch batch = batch_of(setup);
  const Buffer<int32_t> cu(batch.cu);
  ops::AttentionShape s = batch.shape;
  s.cu_seqlens = cu.data();
  s.cu_seqlens_host = batch.cu.data();
  const int64_t T = s.T, D = s.D, width = (s.Q + 2 * s.G) * D;
  const Doubles qkv = normal_bf16(T * width, 1, setup.std), dout = normal_bf16(T * s.Q * D, 2);
  const Results want = reference(batch, qkv, dout, false);
  const Results naive = reference(batch, qkv, dout, true);
  const Matrix x(qkv, T, width, width + setup.gap);
  const Matrix dy(dout, T, s.Q * D, s.Q * D + setup.gap);
  on_every_path([&](const std::string& path) {
    const std::string name = path + name_of(setup, batch);
    const Buffer<float> lse(s.Q * T);
    Matrix y(T, s.Q * D, s.Q * D + setup.gap);
    const Doubles out = twice(name + " out", [&] {
      const Matrix fresh(T, s.Q * D, s.Q * D + setup.gap);
      ops::attention_forward(fresh.data(), fresh.ld(), nullptr, x.data(), x.ld(), s, device());
      return fresh.read();
    });
    ops::attention_forward(y.data(), y.ld(), lse.data(), x.data(), x.ld(), s, device());
    expect(y.read() == out, name + ": out depends on whether lse is wanted");
    compare(name + " out", out, want.out, naive.out);
    compare_within(name + " lse", doubles(lse.read()), want.lse, 1e-5);
    const Doubles dqkv = twice(name + " dqkv", [&] {
      const Matrix fresh(T, width, width + setup.gap);
      const Buffer<char> workspace(static_cast<int64_t>(ops::attention_backward_workspace(s)));
      ops::attention_backward(fresh.data(), fresh.ld(), dy.data(), dy.ld(), y.data(), y.ld(),
                              lse.data(), x.data(), x.ld(), workspace.data(), s, device());
      workspace.read();  // its guards
      return fresh.read();
    });
    compare(name + " dq", columns(dqkv, width, 0, s.Q * D), want.dq, naive.dq);
    compare(name + " dk", columns(dqkv, width, s.Q * D, s.G * D), want.dk, naive.dk);
    compare(name + " dv", columns(dqkv, width, (s.Q + s.G) * D, s.G * D), want.dv, naive.dv);
  });
}

CUDA_OP_TEST(attention) {
  check({0, {1}, 1, 1, 64, 0});
  check({0, {5, 123, 1}, 4, 2, 64, 8});
  check({0, {64, 65, 63}, 2, 2, 128, 8});
  check({7, {1}, 2, 1, 128, 0});
  check({70, {40, 3, 0, 17, 65, 2, 9}, 8, 4, 64, 8});
  check({64, {31, 33}, 4, 1, 128, 8});
  check({33, {12, 50}, 3, 1, 128, 16});
  check({130, {}, 2, 1, 128, 0});
  check({100, {20, 44}, 4, 1, 64, 8, 8.0});
  check({100, {20, 44}, 4, 1, 128, 8, 8.0});
  check({0,
         {1, 2, 1, 3, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
          1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 70},
         4,
         2,
         128,
         8});
  check({123, {5, 123, 64, 33}, 8, 2, 128, 8});
  // Other heads, and rows that are not aligned.
  check({0, {1}, 1, 1, 2, 0});
  check({12, {24, 36}, 3, 3, 6, 1});
  check({33, {12, 50}, 4, 1, 80, 3});
  check({5, {40, 20}, 2, 1, 128, 1});
  check({9, {17}, 2, 2, 256, 0});
}

CUDA_OP_TEST(attention_prefix_in_parts) {
  check({80, {200, 150, 60, 170}, 2, 1, 64, 8});
  check({200, {300, 150, 130}, 4, 1, 128, 8});
}

// A sequence with a prefix gives what the whole gives as one sequence.
CUDA_OP_TEST(attention_prefix_equality) {
  const Batch split = batch_of({96, {110}, 4, 2, 128, 8});
  const Batch whole = batch_of({0, {206}, 4, 2, 128, 8});
  const int64_t T = 206, width = 8 * 128;
  const Doubles qkv = normal_bf16(T * width, 3);
  const Matrix x(qkv, T, width, width);
  const Batch* const batches[2] = {&split, &whole};
  on_every_path([&](const std::string& path) {
    Doubles outs[2];
    for (int i = 0; i < 2; ++i) {
      const Buffer<int32_t> cu(batches[i]->cu);
      ops::AttentionShape s = batches[i]->shape;
      s.cu_seqlens = cu.data();
      s.cu_seqlens_host = batches[i]->cu.data();
      const Matrix out(T, 4 * 128, 4 * 128);
      ops::attention_forward(out.data(), out.ld(), nullptr, x.data(), x.ld(), s, device());
      outs[i] = out.read();
    }
    compare_within(path + "prefix or not", outs[0], outs[1], 1e-2);
  });
}

#ifdef QLORA_CUDA_OPS
// All sets of kernels agree, and each with itself, on what is too large for the reference.
void paths_agree(const Setup& setup) {
  const Batch batch = batch_of(setup);
  const Buffer<int32_t> cu(batch.cu);
  ops::AttentionShape s = batch.shape;
  s.cu_seqlens = cu.data();
  s.cu_seqlens_host = batch.cu.data();
  const int64_t T = s.T, columns_q = s.Q * s.D, width = (s.Q + 2 * s.G) * s.D;
  const Matrix x(normal_bf16(T * width, 4), T, width, width + setup.gap);
  const Matrix dy(normal_bf16(T * columns_q, 5), T, columns_q, columns_q + setup.gap);
  Doubles first_out, first_dqkv;
  on_every_path([&](const std::string& path) {
    const std::string name = path + name_of(setup, batch);
    const Buffer<float> lse(s.Q * T);
    const Matrix y(T, columns_q, columns_q + setup.gap);
    const Doubles out = twice(name + " out", [&] {
      ops::attention_forward(y.data(), y.ld(), lse.data(), x.data(), x.ld(), s, device());
      return y.read();
    });
    const Doubles dqkv = twice(name + " dqkv", [&] {
      const Matrix fresh(T, width, width + setup.gap);
      const Buffer<char> workspace(static_cast<int64_t>(ops::attention_backward_workspace(s)));
      ops::attention_backward(fresh.data(), fresh.ld(), dy.data(), dy.ld(), y.data(), y.ld(),
                              lse.data(), x.data(), x.ld(), workspace.data(), s, device());
      return fresh.read();
    });
    if (first_out.empty()) {
      first_out = out;
      first_dqkv = dqkv;
      return;
    }
    compare_within(name + " out", out, first_out, 1e-2);
    const int64_t firsts[] = {0, columns_q, columns_q + s.G * s.D, width};
    for (int i = 0; i < 3; ++i) {
      const int64_t count = firsts[i + 1] - firsts[i];
      compare_within(name + (i == 0   ? " dq"
                             : i == 1 ? " dk"
                                      : " dv"),
                     columns(dqkv, width, firsts[i], count),
                     columns(first_dqkv, width, firsts[i], count), 1e-2);
    }
  });
}

// The shape that training runs: every block has many tiles in turn.
CUDA_OP_TEST(attention_paths_agree) {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < 32; ++i) sizes.push_back(110 + i * 53 % 121);
  for (const int64_t P : {336, 0}) paths_agree({P, sizes, 32, 8, 128, 8});
}

// Prefixes, sequences and ratios of all kinds, so that tiles end anywhere.
CUDA_OP_TEST(attention_paths_agree_everywhere) {
  const std::pair<int64_t, int64_t> heads[] = {{8, 2}, {4, 4}, {8, 1}, {6, 2}, {5, 1}, {7, 1}};
  const int64_t prefixes[] = {0, 1, 63, 64, 65, 127, 300, 513};
  uint32_t state = 1;
  const auto below = [&](uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return int64_t{(state >> 8) % n};
  };
  for (int i = 0; i < 24; ++i) {
    std::vector<int64_t> sizes;
    for (int64_t left = below(40) + 1; left > 0; --left) {
      sizes.push_back(i % 3 == 0 ? below(8) : i % 3 == 1 ? below(90) : below(30) * below(12));
    }
    sizes.push_back(1 + below(260));
    paths_agree({prefixes[i % 8], sizes, heads[i % 6].first, heads[i % 6].second, 128, 8});
  }
}

// The same bits 200 times, beside other work that changes when what arrives: a missing barrier
// shows.
CUDA_OP_TEST(attention_repeats) {
  const Setup setup = {97, {61, 110, 1, 90, 170, 33, 64, 128, 75, 140, 20, 99}, 32, 8, 128, 0};
  const Batch batch = batch_of(setup);
  const Buffer<int32_t> cu(batch.cu);
  ops::AttentionShape s = batch.shape;
  s.cu_seqlens = cu.data();
  s.cu_seqlens_host = batch.cu.data();
  const int64_t T = s.T, columns_q = s.Q * s.D, width = (s.Q + 2 * s.G) * s.D;
  const Matrix x(normal_bf16(T * width, 6), T, width, width);
  const Matrix dy(normal_bf16(T * columns_q, 7), T, columns_q, columns_q);
  const std::unique_ptr<qlora::Device> beside = qlora::Device::create(qlora::DeviceOptions());
  constexpr int64_t kNumbers = int64_t{1} << 22;
  const Buffer<float> numbers(kNumbers);
  on_every_path([&](const std::string& path) {
    const Buffer<act_t> out(T * columns_q), dqkv(T * width);
    const Buffer<float> lse(s.Q * T);
    const Buffer<char> workspace(static_cast<int64_t>(ops::attention_backward_workspace(s)));
    std::vector<act_t> first_out, first_dqkv;
    int differ = 0;
    for (int i = 0; i < 200; ++i) {
      for (int more = i % 4; more > 0; --more) {
        ops::random_normal(numbers.data(), kNumbers, 1, 0, 1.0, *beside);
      }
      ops::attention_forward(out.data(), columns_q, lse.data(), x.data(), width, s, device());
      ops::attention_backward(dqkv.data(), width, dy.data(), columns_q, out.data(), columns_q,
                              lse.data(), x.data(), width, workspace.data(), s, device());
      const std::vector<act_t> now_out = out.read(), now_dqkv = dqkv.read();
      if (i == 0) {
        first_out = now_out;
        first_dqkv = now_dqkv;
      }
      const auto same = [](const std::vector<act_t>& a, const std::vector<act_t>& b) {
        return std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0;
      };
      if (!same(now_out, first_out) || !same(now_dqkv, first_dqkv)) ++differ;
    }
    expect(differ == 0, shape(path + "repeats that differ from the first of 200:", differ));
  });
  beside->synchronize();
}
#endif

// ops.h: a trainer allocates the workspace once, for the largest sizes.
CUDA_OP_TEST(attention_workspace) {
  for (const int64_t most : {100, 600, 1500, 5000, 20000}) {
    const ops::AttentionShape planned = {most, most, most, 8, 4, 128, most, nullptr, nullptr};
    const size_t bytes = ops::attention_backward_workspace(planned);
    for (int64_t T = 1; T <= most; T += 97) {
      for (int64_t P = 0; P <= T; P += 61) {
        const ops::AttentionShape smaller = {T, P, 3, 8, 4, 128, T, nullptr, nullptr};
        expect(ops::attention_backward_workspace(smaller) <= bytes,
               shape("workspace falls: T", T, "P", P, "planned for", most));
      }
    }
  }
}

}  // namespace
