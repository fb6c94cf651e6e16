// Packed causal attention with a shared prefix, per token t and query head h:
//   s[j] = q·k[j] / √D over the tokens j that t sees,  p = softmax(s),  out = Σ p[j] · v[j]
//   backward: δ = dout·out,  dv[j] += p[j] · dout,  ds[j] = p[j] · (dout·v[j] − δ) / √D,
//             dq = Σ ds[j] · k[j],  dk[j] += ds[j] · q
#include <algorithm>
#include <cmath>

#include "cpu_device.h"

namespace qlora {
namespace {

// Body(j) for every token seen by token t of the sequence that begins at `begin`.
template <class Body>
void for_seen(int64_t P, int64_t begin, int64_t t, const Body& body) {
  if (t >= P) {
    for (int64_t j = 0; j < P; ++j) body(j);
  }
  for (int64_t j = begin; j <= t; ++j) body(j);
}

float dot(const float* a, const float* b, int64_t D) {
  float sum = 0.0f;
  for (int64_t i = 0; i < D; ++i) sum += a[i] * b[i];
  return sum;
}

// First token of segment s: segment 0 is the prefix, segment s > 0 sequence s − 1.
int64_t segment_begin(const ops::AttentionShape& shape, int64_t s) {
  return s == 0 ? 0 : shape.cu_seqlens_host[s - 1];
}
int64_t segment_end(const ops::AttentionShape& shape, int64_t s) {
  return s == 0 ? shape.P : shape.cu_seqlens_host[s];
}

}  // namespace

void ops::attention_forward(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
                            const AttentionShape& shape, Device& d) {
  const int64_t Q = shape.Q, G = shape.G, D = shape.D, P = shape.P;
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  cpu::cpu_device(d).parallel((shape.S + 1) * Q, [&](int64_t task, int) {
    const int64_t s = task / Q, h = task % Q, g = h / (Q / G);
    const int64_t begin = segment_begin(shape, s);
    for (int64_t t = begin; t < segment_end(shape, s); ++t) {
      const act_t* const q = qkv + t * ld + h * D;
      const act_t* const k = qkv + (Q + g) * D;
      const act_t* const v = k + G * D;
      act_t* const o = out + t * ld_out + h * D;
      float top = -INFINITY, sum = 0.0f;
      for_seen(P, begin, t, [&](int64_t j) { top = std::max(top, scale * dot(q, k + j * ld, D)); });
      std::fill_n(o, D, 0.0f);
      for_seen(P, begin, t, [&](int64_t j) {
        const float p = std::exp(scale * dot(q, k + j * ld, D) - top);
        sum += p;
        for (int64_t i = 0; i < D; ++i) o[i] += p * v[j * ld + i];
      });
      for (int64_t i = 0; i < D; ++i) o[i] /= sum;
      if (lse != nullptr) lse[h * shape.T + t] = top + std::log(sum);
    }
  });
}

size_t ops::attention_backward_workspace(const AttentionShape&) { return 0; }

void ops::attention_backward(act_t* dqkv, int64_t ld_dqkv, const act_t* dout, int64_t ld_dout,
                             const act_t* out, int64_t ld_out, const float* lse, const act_t* qkv,
                             int64_t ld, void*, const AttentionShape& shape, Device& d) {
  const int64_t Q = shape.Q, G = shape.G, D = shape.D, P = shape.P;
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  cpu::cpu_device(d).parallel(G, [&](int64_t g, int) {
    const act_t* const k = qkv + (Q + g) * D;
    const act_t* const v = k + G * D;
    act_t* const dk = dqkv + (Q + g) * D;
    act_t* const dv = dk + G * D;
    for (int64_t t = 0; t < shape.T; ++t) {
      std::fill_n(dk + t * ld_dqkv, D, 0.0f);
      std::fill_n(dv + t * ld_dqkv, D, 0.0f);
    }
    for (int64_t s = 0; s <= shape.S; ++s) {
      const int64_t begin = segment_begin(shape, s);
      for (int64_t t = begin; t < segment_end(shape, s); ++t) {
        for (int64_t h = g * (Q / G); h < (g + 1) * (Q / G); ++h) {
          const act_t* const q = qkv + t * ld + h * D;
          const act_t* const dy = dout + t * ld_dout + h * D;
          act_t* const dq = dqkv + t * ld_dqkv + h * D;
          std::fill_n(dq, D, 0.0f);
          const float delta = dot(dy, out + t * ld_out + h * D, D);
          for_seen(P, begin, t, [&](int64_t j) {
            const float p = std::exp(scale * dot(q, k + j * ld, D) - lse[h * shape.T + t]);
            const float ds = scale * p * (dot(dy, v + j * ld, D) - delta);
            for (int64_t i = 0; i < D; ++i) {
              dv[j * ld_dqkv + i] += p * dy[i];
              dk[j * ld_dqkv + i] += ds * q[i];
              dq[i] += ds * k[j * ld + i];
            }
          });
        }
      }
    }
  });
}

}  // namespace qlora
