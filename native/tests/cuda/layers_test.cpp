// RMSNorm, per-head norm, rope, SwiGLU.
#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

double round_if(bool naive, double x) { return naive ? bf16(x) : x; }

// ---- rmsnorm ----------------------------------------------------------------------------------

// Rows of x · rstd · weight; naive: every step in bf16, the mean in fp32 as Hugging Face has it.
Doubles rmsnorm(const Doubles& x, const Doubles& weight, double eps, bool naive, Doubles* rstds) {
  const size_t H = weight.size();
  Doubles out(x.size());
  for (size_t row = 0; row < x.size() / H; ++row) {
    double squares = 0.0;
    for (size_t c = 0; c < H; ++c) squares += x[row * H + c] * x[row * H + c];
    const double rstd = 1.0 / std::sqrt(squares / double(H) + eps);
    if (rstds != nullptr) rstds->push_back(rstd);
    for (size_t c = 0; c < H; ++c) {
      const double normal = round_if(naive, x[row * H + c] * rstd);
      out[row * H + c] = round_if(naive, normal * round_if(naive, weight[c]));
    }
  }
  return out;
}

Doubles rmsnorm_gradient(const Doubles& dresidual, const Doubles& dout, const Doubles& x,
                         const Doubles& rstd, const Doubles& weight, bool naive) {
  const size_t H = weight.size();
  Doubles dx = dresidual;
  for (size_t row = 0; row < x.size() / H; ++row) {
    double dot = 0.0;
    Doubles g(H);
    for (size_t c = 0; c < H; ++c) {
      g[c] = round_if(naive, dout[row * H + c] * round_if(naive, weight[c]));
      dot += g[c] * x[row * H + c];
    }
    const double pull = rstd[row] * rstd[row] * dot / double(H);
    for (size_t c = 0; c < H; ++c) {
      const double slope = round_if(naive, rstd[row] * (g[c] - x[row * H + c] * pull));
      dx[row * H + c] = round_if(naive, dx[row * H + c] + slope);
    }
  }
  return dx;
}

void check_rmsnorm(int64_t T, int64_t H, int64_t gap, bool with_delta, bool in_place) {
  const double eps = static_cast<double>(1e-5f);
  const std::string name = shape("T", T, "H", H, with_delta ? "delta" : "plain");
  const Doubles residual = normal_bf16(T * H, 1), delta = normal_bf16(T * H, 2);
  const Doubles weight = normal_f32(H, 3);
  Doubles exact_sum = residual;
  if (with_delta) {
    for (size_t i = 0; i < exact_sum.size(); ++i) exact_sum[i] += delta[i];
  }
  const Doubles x = stored(exact_sum);
  Doubles rstd;
  const Doubles want = rmsnorm(x, weight, eps, false, &rstd);
  const Buffer<float> w = f32_buffer(weight), rstds(T);
  const Matrix more(delta, T, H, H);
  Doubles sums;
  const auto out = twice(name, [&] {
    const Matrix y(T, H, H + gap), in(residual, T, H, H), fresh(T, H, H);
    const Matrix& sum = in_place ? in : fresh;
    ops::rmsnorm_forward(y.data(), y.ld(), rstds.data(), with_delta ? sum.data() : nullptr,
                         in.data(), with_delta ? more.data() : nullptr, w.data(), T, H,
                         static_cast<float>(eps), device());
    if (with_delta) sums = sum.read();
    return y.read();
  });
  compare(name, out, want, rmsnorm(x, weight, eps, true, nullptr));
  if (with_delta) expect(sums == x, name + ": sum");
  compare_within(name + " rstd", doubles(rstds.read()), rstd, 1e-5);

  const Doubles dout = normal_bf16(T * H, 4), dstart = normal_bf16(T * H, 5);
  const Matrix d(dout, T, H, H + gap), in(x, T, H, H);
  const auto gradient = twice(name, [&] {
    const Matrix dx(dstart, T, H, H);
    ops::rmsnorm_backward(dx.data(), d.data(), d.ld(), in.data(), rstds.data(), w.data(), T, H,
                          device());
    return dx.read();
  });
  compare(name + " backward", gradient, rmsnorm_gradient(dstart, dout, x, rstd, weight, false),
          rmsnorm_gradient(dstart, dout, x, rstd, weight, true));
}

CUDA_OP_TEST(rmsnorm) {
  check_rmsnorm(1, 1, 0, false, false);
  check_rmsnorm(5, 123, 5, true, false);
  check_rmsnorm(7, 64, 16, true, true);
  check_rmsnorm(3, 2056, 8, true, false);
  check_rmsnorm(33, 4096, 16, true, true);
  check_rmsnorm(2, 8192, 48, false, false);
  check_rmsnorm(2, 16392, 0, true, false);
  for (const int64_t H : {8, 1024, 1032, 3072, 3080, 4104, 5120, 8200}) {  // about the block shapes
    check_rmsnorm(3, H, 8, true, true);
  }
  check_rmsnorm(1500, 136, 8, true, true);  // more rows than blocks
  check_rmsnorm(13000, 16, 0, false, false);  // more than 32 rows a block
}

// ---- per-head norm ----------------------------------------------------------------------------

void check_head_norm(int64_t T, int64_t heads, int64_t first, int64_t count, int64_t D,
                     int64_t gap) {
  const double eps = static_cast<double>(1e-6f);
  const std::string name = shape("T", T, "heads", count, "D", D);
  const int64_t columns = heads * D, ld = columns + gap;
  const Doubles start = normal_bf16(T * columns, 1), dstart = normal_bf16(T * columns, 2);
  Doubles weight = normal_f32(D, 3);
  for (double& value : weight) value = static_cast<double>(static_cast<float>(1.0 + 0.1 * value));
  const Buffer<float> w = f32_buffer(weight), rstds(T * count);
  const auto out = twice(name, [&] {
    const Matrix y(start, T, columns, ld);
    ops::head_norm_forward(y.data(), ld, rstds.data(), w.data(), T, first, count, D,
                           static_cast<float>(eps), device());
    return y.read();
  });
  const auto gradient = twice(name, [&] {
    const Matrix y(out, T, columns, ld), dx(dstart, T, columns, ld);
    ops::head_norm_backward(dx.data(), ld, y.data(), ld, rstds.data(), w.data(), T, first, count, D,
                            device());
    return dx.read();
  });
  Doubles want[2] = {start, start}, dwant[2] = {dstart, dstart}, rstd;
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t head = first; head < first + count; ++head) {
      const size_t at = size_t(t * columns + head * D), size = size_t(D);
      const Doubles x(start.begin() + int64_t(at), start.begin() + int64_t(at + size));
      Doubles scale;
      const Doubles y = rmsnorm(x, weight, eps, false, &scale);
      const Doubles rough = rmsnorm(x, weight, eps, true, nullptr);
      rstd.push_back(scale[0]);
      double dot = 0.0;
      for (size_t c = 0; c < size; ++c) dot += dstart[at + c] * out[at + c];
      for (size_t c = 0; c < size; ++c) {
        want[0][at + c] = y[c];
        want[1][at + c] = rough[c];
        const double mean = dot / double(D);
        const double g = dstart[at + c] * weight[c], normal = out[at + c] / weight[c];
        dwant[0][at + c] = scale[0] * (g - normal * mean);
        dwant[1][at + c] = bf16(scale[0] * bf16(bf16(g) - bf16(bf16(normal) * bf16(mean))));
      }
    }
  }
  compare(name, out, want[0], want[1]);
  compare(name + " backward", gradient, dwant[0], dwant[1]);
  compare_within(name + " rstd", doubles(rstds.read()), rstd, 1e-5);
}

CUDA_OP_TEST(head_norm) {
  check_head_norm(1, 1, 0, 1, 2, 0);
  check_head_norm(5, 6, 2, 3, 6, 3);
  check_head_norm(9, 4, 0, 3, 80, 8);
  check_head_norm(33, 12, 8, 2, 128, 16);
}

// ---- rope -------------------------------------------------------------------------------------

void check_rope(int64_t T, int64_t Q, int64_t G, int64_t D, int64_t gap) {
  const int64_t half = D / 2, columns = (Q + 2 * G) * D, ld = columns + gap, most = 600;
  const std::string name = shape("T", T, "Q", Q, "G", G, "D", D);
  Doubles cosines, sines;
  for (int64_t p = 0; p < most; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = double(p) * std::pow(10000.0, -double(i) / double(half));
      cosines.push_back(double(float(std::cos(angle))));
      sines.push_back(double(float(std::sin(angle))));
    }
  }
  std::vector<int32_t> positions;
  for (int64_t t = 0; t < T; ++t) positions.push_back(static_cast<int32_t>(t * 97 % most));
  const Doubles start = normal_bf16(T * columns, 1);
  const Buffer<float> cos = f32_buffer(cosines), sin = f32_buffer(sines);
  const Buffer<int32_t> where(positions);
  for (const bool inverse : {false, true}) {
    Doubles want = start, naive = start;
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t head = 0; head < Q + G; ++head) {
        for (int64_t i = 0; i < half; ++i) {
          const size_t a = size_t(t * columns + head * D + i), b = a + size_t(half);
          const size_t angle = size_t(positions[size_t(t)] * half + i);
          const double c = cosines[angle], s = inverse ? -sines[angle] : sines[angle];
          want[a] = start[a] * c - start[b] * s;
          want[b] = start[b] * c + start[a] * s;
          naive[a] = bf16(bf16(start[a] * bf16(c)) - bf16(start[b] * bf16(s)));
          naive[b] = bf16(bf16(start[b] * bf16(c)) + bf16(start[a] * bf16(s)));
        }
      }
    }
    const auto out = twice(name, [&] {
      const Matrix qkv(start, T, columns, ld);
      ops::rope(qkv.data(), ld, where.data(), cos.data(), sin.data(), T, Q, G, D, inverse,
                device());
      return qkv.read();
    });
    compare(name + (inverse ? " inverse" : ""), out, want, naive);
  }
}

CUDA_OP_TEST(rope) {
  check_rope(1, 1, 1, 2, 0);
  check_rope(5, 3, 1, 6, 1);
  check_rope(7, 4, 2, 16, 0);
  check_rope(33, 8, 2, 64, 8);
  check_rope(9, 32, 8, 128, 0);
  check_rope(300, 3, 1, 128, 8);
}

// ---- SwiGLU -----------------------------------------------------------------------------------

void check_swiglu(int64_t T, int64_t F, int64_t gap) {
  const std::string name = shape("T", T, "F", F);
  Doubles gate_up = normal_bf16(T * 2 * F, 1, 2.0);
  if (F > 1) gate_up[0] = -120.0;  // e¹²⁰ is beyond fp32
  const Doubles dout = normal_bf16(T * F, 2);
  Doubles out[2], d[2];
  for (const int naive : {0, 1}) {
    const auto r = [&](double x) { return round_if(naive != 0, x); };
    out[naive].resize(size_t(T * F));
    d[naive].resize(size_t(T * 2 * F));
    for (int64_t t = 0; t < T; ++t) {
      for (int64_t c = 0; c < F; ++c) {
        const size_t at = size_t(t * 2 * F + c), up_at = at + size_t(F), i = size_t(t * F + c);
        const double gate = gate_up[at], up = gate_up[up_at];
        const double sigma = r(1.0 / (1.0 + std::exp(-gate))), silu = r(gate * sigma);
        out[naive][i] = r(silu * up);
        d[naive][up_at] = r(dout[i] * silu);
        const double slope = r(sigma * r(1.0 + r(gate * r(1.0 - sigma))));
        d[naive][at] = r(r(dout[i] * up) * slope);
      }
    }
  }
  const Matrix in(gate_up, T, 2 * F, 2 * F), grad(dout, T, F, F + gap);
  compare(name, twice(name, [&] {
            const Matrix y(T, F, F + gap);
            ops::swiglu_forward(y.data(), y.ld(), in.data(), T, F, device());
            return y.read();
          }),
          out[0], out[1]);
  compare(name + " backward", twice(name, [&] {
            const Matrix x(gate_up, T, 2 * F, 2 * F);
            ops::swiglu_backward(x.data(), grad.data(), grad.ld(), T, F, device());
            return x.read();
          }),
          d[0], d[1]);
}

CUDA_OP_TEST(swiglu) {
  check_swiglu(1, 1, 0);
  check_swiglu(5, 123, 5);
  check_swiglu(7, 64, 16);
  check_swiglu(300, 40, 8);
  check_swiglu(9, 14336, 16);
  check_swiglu(2, 2312, 0);  // the last block of a row is not full
}

}  // namespace
