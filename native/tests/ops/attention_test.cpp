// attention against double precision, forward and backward (the backward formula itself is checked
// by finite differences), over segments that do not fill a tile, with and without a prefix.
#include <algorithm>

#include "op_test.h"

namespace {

using op_test::Matrix;
using Doubles = std::vector<double>;

struct Setup {
  int64_t P;
  std::vector<int64_t> sizes;  // of the sequences
  int64_t Q, G, D;
};

struct Batch {
  std::vector<int32_t> cu;
  qlora::ops::AttentionShape shape;
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

qlora::ops::AttentionShape shape_of(const Batch& batch) {
  qlora::ops::AttentionShape shape = batch.shape;
  shape.cu_seqlens = shape.cu_seqlens_host = batch.cu.data();
  return shape;
}

bool sees(const Batch& batch, int64_t t, int64_t j) {
  if (j > t) return false;
  if (t < batch.shape.P || j < batch.shape.P) return true;
  int64_t begin = 0;
  for (const int32_t start : batch.cu) {
    if (start <= t) begin = start;
  }
  return j >= begin;
}

// out [T, Q·D] and lse [Q, T] in double; qkv [T, (Q + 2G)·D].
void reference(const Batch& batch, const Doubles& qkv, Doubles* out, Doubles* lse) {
  const int64_t T = batch.shape.T, Q = batch.shape.Q, G = batch.shape.G, D = batch.shape.D;
  const int64_t width = (Q + 2 * G) * D;
  out->assign(size_t(T * Q * D), 0.0);
  lse->assign(size_t(Q * T), 0.0);
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t h = 0; h < Q; ++h) {
      const double* const q = &qkv[size_t(t * width + h * D)];
      const int64_t k_column = (Q + h / (Q / G)) * D, v_column = k_column + G * D;
      Doubles weights(size_t(T), 0.0);
      double sum = 0.0;
      for (int64_t j = 0; j <= t; ++j) {
        if (!sees(batch, t, j)) continue;
        double s = 0.0;
        for (int64_t i = 0; i < D; ++i) s += q[i] * qkv[size_t(j * width + k_column + i)];
        weights[size_t(j)] = std::exp(s / std::sqrt(double(D)));
        sum += weights[size_t(j)];
      }
      for (int64_t j = 0; j <= t; ++j) {
        for (int64_t i = 0; i < D; ++i) {
          (*out)[size_t((t * Q + h) * D + i)] +=
              weights[size_t(j)] / sum * qkv[size_t(j * width + v_column + i)];
        }
      }
      (*lse)[size_t(h * T + t)] = std::log(sum);
    }
  }
}

// dqkv in double, from the formulas.
Doubles reference_backward(const Batch& batch, const Doubles& qkv, const Doubles& dout) {
  const int64_t T = batch.shape.T, Q = batch.shape.Q, G = batch.shape.G, D = batch.shape.D;
  const int64_t width = (Q + 2 * G) * D;
  const double scale = 1.0 / std::sqrt(double(D));
  Doubles out, lse, dqkv(qkv.size(), 0.0);
  reference(batch, qkv, &out, &lse);
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t h = 0; h < Q; ++h) {
      const size_t q = size_t(t * width + h * D), y = size_t((t * Q + h) * D);
      double delta = 0.0;
      for (int64_t i = 0; i < D; ++i) delta += dout[y + size_t(i)] * out[y + size_t(i)];
      for (int64_t j = 0; j <= t; ++j) {
        if (!sees(batch, t, j)) continue;
        const size_t k = size_t(j * width + (Q + h / (Q / G)) * D), v = k + size_t(G * D);
        double s = 0.0, dp = 0.0;
        for (size_t i = 0; i < size_t(D); ++i) {
          s += qkv[q + i] * qkv[k + i];
          dp += dout[y + i] * qkv[v + i];
        }
        const double p = std::exp(s * scale - lse[size_t(h * T + t)]);
        const double ds = p * (dp - delta) * scale;
        for (size_t i = 0; i < size_t(D); ++i) {
          dqkv[v + i] += p * dout[y + i];
          dqkv[q + i] += ds * qkv[k + i];
          dqkv[k + i] += ds * qkv[q + i];
        }
      }
    }
  }
  return dqkv;
}

void check(const Setup& setup) {
  const Batch batch = batch_of(setup);
  const qlora::ops::AttentionShape shape = shape_of(batch);
  const int64_t T = shape.T, Q = shape.Q, D = shape.D, width = (Q + 2 * shape.G) * D;
  const std::string name = "P " + std::to_string(shape.P) + " S " + std::to_string(shape.S) +
                           " T " + std::to_string(T) + " D " + std::to_string(D);
  const Matrix qkv = Matrix::of(T, width, width + 3, 1);
  const Matrix dout = Matrix::of(T, Q * D, Q * D + 1, 2);
  const size_t workspace_floats =
      (qlora::ops::attention_backward_workspace(shape) + sizeof(float) - 1) / sizeof(float);
  // out, lse and dqkv after one another
  const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
    Matrix out(T, Q * D, Q * D + 5), dqkv(T, width, width + 2);
    Matrix lse(1, Q * T, Q * T);
    op_test::Numbers workspace(workspace_floats + 16, NAN);
    qlora::ops::attention_forward(out.data(), out.ld, lse.data(), qkv.data(), qkv.ld, shape,
                                  device);
    qlora::ops::attention_backward(dqkv.data(), dqkv.ld, dout.data(), dout.ld, out.data(), out.ld,
                                   lse.data(), qkv.data(), qkv.ld, workspace.data(), shape, device);
    EXPECT(out.guards_intact() && dqkv.guards_intact() && lse.guards_intact(), name);
    EXPECT(std::isnan(workspace[workspace_floats]), name + ": workspace");
    Doubles all = op_test::doubles(out);
    for (const Matrix* part : {&lse, &dqkv}) {
      const Doubles values = op_test::doubles(*part);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  });
  Doubles out, lse;
  reference(batch, op_test::doubles(qkv), &out, &lse);
  const Doubles dqkv = reference_backward(batch, op_test::doubles(qkv), op_test::doubles(dout));
  const auto first = got.begin() + int64_t(out.size()), second = first + int64_t(lse.size());
  op_test::expect_close(Doubles(got.begin(), first), out, 3e-6, name + " out");
  op_test::expect_close(Doubles(first, second), lse, 3e-6, name + " lse");
  op_test::expect_close(Doubles(second, got.end()), dqkv, 1e-5, name + " dqkv");
}

OP_TEST(attention_matches_double_precision) {
  check({0, {1}, 1, 1, 2});
  check({0, {5, 123, 1}, 4, 2, 8});
  check({0, {33, 32, 31, 64}, 2, 2, 32});
  check({7, {1}, 2, 1, 16});
  check({70, {40, 3, 1, 17, 65, 2, 9}, 8, 4, 32});
  check({33, {12, 50}, 4, 1, 80});
  check({12, {24, 36}, 3, 3, 6});
  check({5, {100, 20}, 2, 1, 128});
}

OP_TEST(attention_reference_gradient_is_the_slope_of_the_reference) {
  const Batch batch = batch_of({3, {4, 2}, 4, 2, 6});
  const int64_t width = (4 + 4) * 6;
  Doubles qkv = op_test::doubles(op_test::normal(batch.shape.T * width, 1));
  const Doubles dout = op_test::doubles(op_test::normal(batch.shape.T * 4 * 6, 2));
  const Doubles gradient = reference_backward(batch, qkv, dout);
  const auto loss = [&] {
    Doubles out, lse;
    reference(batch, qkv, &out, &lse);
    double sum = 0.0;
    for (size_t i = 0; i < out.size(); ++i) sum += out[i] * dout[i];
    return sum;
  };
  Doubles slope;
  const double step = 1e-5;
  for (double& value : qkv) {
    const double middle = value;
    value = middle + step;
    const double above = loss();
    value = middle - step;
    slope.push_back((above - loss()) / (2 * step));
    value = middle;
  }
  op_test::expect_close(gradient, slope, 1e-8, "finite differences");
}

OP_TEST(attention_survives_large_scores) {
  const Batch batch = batch_of({0, {40}, 1, 1, 16});
  const Matrix qkv = Matrix::of(40, 48, 48, 5, 40.0f);
  Matrix out(40, 16, 16), lse(1, 40, 40);
  qlora::ops::attention_forward(out.data(), 16, lse.data(), qkv.data(), 48, shape_of(batch),
                                op_test::device(1));
  Doubles want, want_lse;
  reference(batch, op_test::doubles(qkv), &want, &want_lse);
  for (const double value : op_test::doubles(out)) EXPECT(std::isfinite(value), "finite");
}

// ops.h: a trainer allocates the workspace once, for the largest sizes.
OP_TEST(attention_workspace_never_falls) {
  qlora::ops::AttentionShape shape = {64, 64, 1, 8, 4, 32, 64, nullptr, nullptr};
  const size_t small = qlora::ops::attention_backward_workspace(shape);
  shape.S = 5;
  shape.T = shape.P = shape.max_sequence = 100;
  EXPECT(qlora::ops::attention_backward_workspace(shape) >= small, "larger shape");
}

}  // namespace
