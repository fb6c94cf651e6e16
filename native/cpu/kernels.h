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
  void (*pack_b)(float* panel, int64_t width, const float* b, int64_t ldb, bool trans,
                 int64_t cols, int64_t k);
  // c [rows, cols] = alpha · a · b + beta · c, rows ≤ tile_rows, cols ≤ tile_cols. a is a panel of
  // row stride a_stride; row p of b begins at b + p · b_stride and is readable up to the next
  // multiple of lanes. Each element is one chain of multiply-adds in the order of k.
  void (*tile)(float* c, int64_t ldc, const float* a, int64_t a_stride, const float* b,
               int64_t b_stride, int64_t rows, int64_t cols, int64_t k, float alpha, float beta);
};

struct Kernels {
  GemmKernels gemm;
};

const Kernels& kernels();  // for isa()

}  // namespace cpu
}  // namespace qlora
