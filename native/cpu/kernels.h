// The hot loops, compiled once per instruction set. They run on one thread, allocate nothing, throw
// nothing; the ops cut their work into these.
#pragma once

#include <cstdint>

namespace qlora {
namespace cpu {

// Products of one tile. A "panel" holds op(a) or op(b) with k outermost: a panel [k, tile_rows],
// b panel [k, width], width = tile_cols, or lanes for the narrow panel at the right edge.
struct GemmKernels {
  int lanes;
  int tile_rows;
  int tile_cols;  // 2 · lanes
  // Packs rows [0, rows) × k of op(a) with row stride row_stride: the panel is [k, row_stride].
  void (*pack_a)(float* panel, int64_t row_stride, const float* a, int64_t lda, bool trans,
                 int64_t rows, int64_t k);
  // Packs k × cols of op(b) into a panel [k, width], zero beyond cols.
  void (*pack_b)(float* panel, int64_t width, const float* b, int64_t ldb, bool trans, int64_t cols,
                 int64_t k);
  // c [rows, cols] = alpha · a · b + beta · c, rows ≤ tile_rows, cols ≤ tile_cols. a is a panel of
  // row stride a_stride; row p of b begins at b + p · b_stride and is readable up to the next
  // multiple of lanes. Each element is one chain of multiply-adds in the order of k.
  void (*tile)(float* c, int64_t ldc, const float* a, int64_t a_stride, const float* b,
               int64_t b_stride, int64_t rows, int64_t cols, int64_t k, float alpha, float beta);
};

// Attention of a tile of consecutive queries of one head. Scores are kept transposed, [key, query],
// so that a vector holds one key's scores of many queries and softmax needs no sums across lanes.
//
// Keys of one part (the prefix, or the sequence's own), packed. "Panels": [⌈keys / panel_keys⌉, D,
// panel_keys]; "rows": [keys, padded_D]. Lanes beyond the keys or beyond D are 0.
struct AttentionPart {
  int64_t count;  // keys that some query of the tile sees
  bool causal;    // query i of the tile sees keys [0, first + i] only
  const float* k_panels;
  const float* v_panels;  // backward only
  const float* k_rows;    // backward only
  const float* v_rows;    // forward only
  float* dk;              // backward only: += , [keys, padded_D]
  float* dv;
};

struct AttentionTile {
  int64_t D, padded_D;
  int64_t queries;  // ≤ tile_queries
  int64_t first;    // place of the first query in its segment
  float scale;      // 1 / √D
  const float* q;   // [queries, D], rows ld apart
  int64_t ld;
  int part_count;
  AttentionPart parts[2];
};

struct AttentionKernels {
  int tile_queries;
  int panel_keys;
  int lanes;
  int64_t (*forward_scratch)(int64_t D, int64_t keys);   // floats
  int64_t (*backward_scratch)(int64_t D, int64_t keys);  // floats
  // out [queries, D] (ld_out), lse (queries) or null
  void (*forward)(const AttentionTile& tile, float* out, int64_t ld_out, float* lse,
                  float* scratch);
  // dq [queries, D] (ld_dq) is overwritten; dout, out [queries, D]
  void (*backward)(const AttentionTile& tile, float* dq, int64_t ld_dq, const float* dout,
                   int64_t ld_dout, const float* out, int64_t ld_out, const float* lse,
                   float* scratch);
};

// Loops over one row of n numbers.
struct DropoutRow {
  uint32_t k0, k1;                    // Philox key
  uint32_t position, sequence, step;  // Philox counter behind column / 8
  uint32_t threshold;                 // a 16-bit uniform below it drops
  float scale;                        // 1 / (1 − p)
};

struct AdamWFactors {
  float decay, mix1, keep2, mix2, step_size, root2, epsilon, grad_scale;
};

constexpr int kDotRows = 4;

struct RowKernels {
  void (*add)(float* out, const float* a, const float* b, int64_t n);
  // sums [kDotRows, kDotRows]: sums[i][j] = w[i]·x[j], w_rows and x_rows ≤ kDotRows. The bits of
  // one sum do not depend on the others.
  void (*dots)(float* sums, const float* w, int64_t ldw, int64_t w_rows, const float* x,
               int64_t ldx, int64_t x_rows, int64_t n);
  // out (n) = Σ weights[i] · rows[i], i < count
  void (*weighted_sum)(float* out, const float* weights, const float* rows, int64_t ld,
                       int64_t count, int64_t n);
  // x ← e^(x − max x); returns Σ and, in *top, max x.
  double (*softmax_terms)(float* out, const float* x, int64_t n, float* top);
  void (*scale)(float* x, float factor, int64_t n);
  // out = x · rstd · weight; returns rstd. out may be x.
  float (*norm)(float* out, const float* x, const float* weight, int64_t n, float eps);
  // dx += rstd · (g − x · rstd² · mean(g · x)), g = dout · weight
  void (*norm_backward)(float* dx, const float* dout, const float* x, const float* weight,
                        float rstd, int64_t n);
  // Turns (x[i], y[i]) by the angle whose cosine is c[i] and sine sign · s[i].
  void (*rotate)(float* x, float* y, const float* c, const float* s, float sign, int64_t n);
  // out = silu(gate) · up
  void (*swiglu)(float* out, const float* gate, const float* up, int64_t n);
  // gate, up ← their gradients
  void (*swiglu_backward)(float* gate, float* up, const float* dout, int64_t n);
  // out = mask · x · scale, or += with add
  void (*dropout)(float* out, const float* x, int64_t n, const DropoutRow& row, bool add);
  void (*adamw)(float* param, float* m, float* v, const float* grad, int64_t n,
                const AdamWFactors& factors);
  // dst (2 · bytes) = table[nibble], high nibble first; table (16)
  void (*look_up_nibbles)(float* dst, const uint8_t* packed, int64_t bytes, const float* table);
};

struct Kernels {
  GemmKernels gemm;
  RowKernels row;
  AttentionKernels attention;
};

const Kernels& kernels();  // for isa()

}  // namespace cpu
}  // namespace qlora
