// Loops over one row (formulas in the ops that use them), for the instruction set of the including
// file. Rows need not fill the last vector: its unused lanes are 0.
#pragma once

#include "dot_kernels.h"
#include "dropout_kernels.h"
#include "kernels.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

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
