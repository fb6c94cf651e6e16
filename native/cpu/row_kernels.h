// Loops over one row (formulas in the ops that use them), for the instruction set of the including
// file. Rows need not fill the last vector: its unused lanes are 0.
#pragma once

#include "kernels.h"
#include "philox.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

inline Vec load_at(const float* x, int64_t i, int64_t n) {
  return i + kLanes <= n ? load(x + i) : load_first(x + i, n - i);
}
inline void store_at(float* x, int64_t i, int64_t n, Vec v) {
  if (i + kLanes <= n) {
    store(x + i, v);
  } else {
    store_first(x + i, v, n - i);
  }
}

void row_add(float* out, const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    store_at(out, i, n, add(load_at(a, i, n), load_at(b, i, n)));
  }
}

void row_scale(float* x, float factor, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    store_at(x, i, n, mul(broadcast(factor), load_at(x, i, n)));
  }
}

// ---- products ---------------------------------------------------------------------------------

template <int kW, int kX>
void dots_of(float* sums, const float* w, int64_t ldw, const float* x, int64_t ldx, int64_t n) {
  Vec parts[kW][kX];
  for (int i = 0; i < kW; ++i) {
    for (int j = 0; j < kX; ++j) parts[i][j] = zero();
  }
  int64_t p = 0;
  for (; p + kLanes <= n; p += kLanes) {
    Vec columns[kX];
    for (int j = 0; j < kX; ++j) columns[j] = load(x + j * ldx + p);
    for (int i = 0; i < kW; ++i) {
      const Vec row = load(w + i * ldw + p);
      for (int j = 0; j < kX; ++j) parts[i][j] = fma(row, columns[j], parts[i][j]);
    }
  }
  if (p < n) {
    for (int i = 0; i < kW; ++i) {
      const Vec row = load_first(w + i * ldw + p, n - p);
      for (int j = 0; j < kX; ++j) {
        parts[i][j] = fma(row, load_first(x + j * ldx + p, n - p), parts[i][j]);
      }
    }
  }
  for (int i = 0; i < kW; ++i) {
    for (int j = 0; j < kX; ++j) sums[i * kDotRows + j] = sum_lanes(parts[i][j]);
  }
}

template <int kW>
void dots_with(float* sums, const float* w, int64_t ldw, const float* x, int64_t ldx,
               int64_t x_rows, int64_t n) {
  switch (x_rows) {
    case 1:
      return dots_of<kW, 1>(sums, w, ldw, x, ldx, n);
    case 2:
      return dots_of<kW, 2>(sums, w, ldw, x, ldx, n);
    case 3:
      return dots_of<kW, 3>(sums, w, ldw, x, ldx, n);
    default:
      return dots_of<kW, 4>(sums, w, ldw, x, ldx, n);
  }
}

void row_dots(float* sums, const float* w, int64_t ldw, int64_t w_rows, const float* x, int64_t ldx,
              int64_t x_rows, int64_t n) {
  if (w_rows == kDotRows) return dots_with<kDotRows>(sums, w, ldw, x, ldx, x_rows, n);
  for (int64_t i = 0; i < w_rows; ++i) {
    dots_with<1>(sums + i * kDotRows, w + i * ldw, ldw, x, ldx, x_rows, n);
  }
}

template <int kVecs>
void weighted_sum_of(float* out, const float* weights, const float* rows, int64_t ld, int64_t count,
                     int64_t n) {
  Vec sums[kVecs];
  for (int v = 0; v < kVecs; ++v) sums[v] = zero();
  for (int64_t i = 0; i < count; ++i) {
    const Vec weight = broadcast(weights[i]);
    for (int v = 0; v < kVecs; ++v) {
      sums[v] = fma(weight, load_at(rows + i * ld, v * kLanes, n), sums[v]);
    }
  }
  for (int v = 0; v < kVecs; ++v) store_at(out, v * kLanes, n, sums[v]);
}

void row_weighted_sum(float* out, const float* weights, const float* rows, int64_t ld,
                      int64_t count, int64_t n) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= n; c += 2 * kLanes) {
    weighted_sum_of<2>(out + c, weights, rows + c, ld, count, 2 * kLanes);
  }
  for (; c < n; c += kLanes) {
    const int64_t lanes = n - c < kLanes ? n - c : kLanes;
    weighted_sum_of<1>(out + c, weights, rows + c, ld, count, lanes);
  }
}

// ---- softmax ----------------------------------------------------------------------------------

double row_softmax_terms(float* out, const float* x, int64_t n, float* top) {
  constexpr int64_t kBlock = 128 * kLanes;  // summed in fp32, the blocks in double
  const Vec nothing = broadcast(-INFINITY);
  Vec tops = nothing;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) tops = max(tops, load(x + i));
  float largest = max_lanes(tops);
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  *top = largest;
  const Vec shift = broadcast(largest);
  double sum = 0.0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    Vec sums = zero();
    for (i = begin; i + kLanes <= end; i += kLanes) {
      const Vec term = exp(sub(load(x + i), shift));
      if (out != nullptr) store(out + i, term);
      sums = add(sums, term);
    }
    if (i < end) {
      float last[kLanes];
      store(last, nothing);
      for (int64_t j = i; j < end; ++j) last[j - i] = x[j];
      const Vec term = exp(sub(load(last), shift));
      if (out != nullptr) store_first(out + i, term, end - i);
      sums = add(sums, term);
    }
    sum += static_cast<double>(sum_lanes(sums));
  }
  return sum;
}

// ---- norms ------------------------------------------------------------------------------------

float row_norm(float* out, const float* x, const float* weight, int64_t n, float eps) {
  Vec squares = zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec value = load_at(x, i, n);
    squares = fma(value, value, squares);
  }
  const float rstd = 1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(n) + eps);
  for (int64_t i = 0; i < n; i += kLanes) {
    store_at(out, i, n, mul(mul(load_at(x, i, n), broadcast(rstd)), load_at(weight, i, n)));
  }
  return rstd;
}

void row_norm_backward(float* dx, const float* dout, const float* x, const float* weight,
                       float rstd, int64_t n) {
  Vec products = zero();
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec g = mul(load_at(dout, i, n), load_at(weight, i, n));
    products = fma(g, load_at(x, i, n), products);
  }
  const float pull = -(rstd * rstd * rstd * sum_lanes(products) / static_cast<float>(n));
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec g = mul(load_at(dout, i, n), load_at(weight, i, n));
    const Vec slope = fma(broadcast(pull), load_at(x, i, n), mul(broadcast(rstd), g));
    store_at(dx, i, n, add(load_at(dx, i, n), slope));
  }
}

// ---- rope, SwiGLU -----------------------------------------------------------------------------

void row_rotate(float* x, float* y, const float* c, const float* s, float sign, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec x0 = load_at(x, i, n), y0 = load_at(y, i, n);
    const Vec cosine = load_at(c, i, n), sine = mul(broadcast(sign), load_at(s, i, n));
    store_at(x, i, n, sub(mul(x0, cosine), mul(y0, sine)));
    store_at(y, i, n, fma(x0, sine, mul(y0, cosine)));
  }
}

inline Vec sigmoid(Vec x) {
  const Vec one = broadcast(1.0f);
  return div(one, add(one, exp(sub(zero(), x))));
}

void row_swiglu(float* out, const float* gate, const float* up, int64_t n) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec g = load_at(gate, i, n);
    store_at(out, i, n, mul(mul(g, sigmoid(g)), load_at(up, i, n)));
  }
}

void row_swiglu_backward(float* gate, float* up, const float* dout, int64_t n) {
  const Vec one = broadcast(1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec g = load_at(gate, i, n), sigma = sigmoid(g), d = load_at(dout, i, n);
    const Vec silu_slope = mul(sigma, fma(g, sub(one, sigma), one));
    const Vec dgate = mul(mul(d, load_at(up, i, n)), silu_slope);
    store_at(up, i, n, mul(d, mul(g, sigma)));
    store_at(gate, i, n, dgate);
  }
}

// ---- dropout ----------------------------------------------------------------------------------

constexpr int kStreams = 4;                    // Philox states worked on side by side
constexpr int kDrawn = kStreams * kWordLanes;  // counters drawn at a time
constexpr int kDrawColumns = 8 * kDrawn;       // columns they decide

// uniforms (kDrawColumns): those of the columns from 8 · first on.
void draw(uint16_t* uniforms, uint32_t first, const DropoutRow& row) {
  Words c0[kStreams], c1[kStreams], c2[kStreams], c3[kStreams];
  for (int i = 0; i < kStreams; ++i) {
    c0[i] = counting_from(first + static_cast<uint32_t>(i * kWordLanes));
    c1[i] = words(row.position);
    c2[i] = words(row.sequence);
    c3[i] = words(row.step);
  }
  const Words m0 = words(kPhiloxM0), m1 = words(kPhiloxM1);
  uint32_t k0 = row.k0, k1 = row.k1;
  for (int round = 0; round < 10; ++round) {
    const Words key0 = words(k0), key1 = words(k1);
    for (int i = 0; i < kStreams; ++i) {
      const Words p0 = product_of(c0[i], m0), p1 = product_of(c2[i], m1);
      c0[i] = exclusive_or(upper_half(p1), c1[i], key0);
      c2[i] = exclusive_or(upper_half(p0), c3[i], key1);
      c1[i] = p1;
      c3[i] = p0;
    }
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  for (int i = 0; i < kStreams; ++i) {
    store_parts(uniforms + i * 8 * kWordLanes, joined(c0[i], c1[i]), joined(c2[i], c3[i]));
  }
}

void row_dropout(float* out, const float* x, int64_t n, const DropoutRow& row, bool add_to) {
  uint16_t uniforms[kDrawColumns];
  for (int64_t begin = 0; begin < n; begin += kDrawColumns) {
    draw(uniforms, static_cast<uint32_t>(begin / 8), row);
    const int64_t end = begin + kDrawColumns < n ? begin + kDrawColumns : n;
    for (int64_t i = begin; i < end; i += kLanes) {
      const Vec factor = scale_where(uniforms + (i - begin), row.threshold, row.scale);
      Vec kept = mul(factor, load_at(x, i, end));
      if (add_to) kept = add(load_at(out, i, end), kept);
      store_at(out, i, end, kept);
    }
  }
}

// ---- optimiser --------------------------------------------------------------------------------

void row_adamw(float* param, float* m, float* v, const float* grad, int64_t n,
               const AdamWFactors& x) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const Vec g = mul(broadcast(x.grad_scale), load_at(grad, i, n));
    const Vec m0 = load_at(m, i, n);
    const Vec mean = add(m0, mul(broadcast(x.mix1), sub(g, m0)));
    const Vec square =
        add(mul(broadcast(x.keep2), load_at(v, i, n)), mul(broadcast(x.mix2), mul(g, g)));
    store_at(m, i, n, mean);
    store_at(v, i, n, square);
    const Vec size = add(div(sqrt(square), broadcast(x.root2)), broadcast(x.epsilon));
    const Vec step = div(mul(broadcast(x.step_size), mean), size);
    store_at(param, i, n, sub(mul(load_at(param, i, n), broadcast(x.decay)), step));
  }
}

void row_look_up_nibbles(float* dst, const uint8_t* packed, int64_t bytes, const float* table) {
  look_up_nibbles(dst, packed, bytes, table);
}

constexpr RowKernels kRowKernels = {
    row_add,     row_dots,          row_weighted_sum,    row_softmax_terms, row_scale,
    row_norm,    row_norm_backward, row_rotate,          row_swiglu,        row_swiglu_backward,
    row_dropout, row_adamw,         row_look_up_nibbles,
};

}  // namespace
}  // namespace cpu
}  // namespace qlora
