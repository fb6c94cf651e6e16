// The product tile and its packing, for the instruction set of the including file (simd.h).
#pragma once

#include "kernels.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

// c = alpha · sums + beta · c over `count` lanes of one row.
inline void finish(float* c, Vec sums, int64_t count, float alpha, float beta) {
  Vec result = mul(broadcast(alpha), sums);
  if (count >= kLanes) {
    if (beta != 0.0f) result = fma(broadcast(beta), load(c), result);
    store(c, result);
  } else if (count > 0) {
    if (beta != 0.0f) result = fma(broadcast(beta), load_first(c, count), result);
    store_first(c, result, count);
  }
}

// The sums of kRows × (kVecs · kLanes) elements stay in registers over all of k.
template <int kRows, int kVecs>
void tile_of(float* c, int64_t ldc, const float* a, int64_t a_stride, const float* b,
             int64_t b_stride, int64_t cols, int64_t k, float alpha, float beta) {
  Vec sums[kRows][kVecs];
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < kVecs; ++v) sums[row][v] = zero();
  }
  for (int64_t p = 0; p < k; ++p) {
    Vec columns[kVecs];
    for (int v = 0; v < kVecs; ++v) columns[v] = load(b + v * kLanes);
    for (int row = 0; row < kRows; ++row) {
      const Vec value = broadcast(a[row]);
      for (int v = 0; v < kVecs; ++v) sums[row][v] = fma(value, columns[v], sums[row][v]);
    }
    a += a_stride;
    b += b_stride;
  }
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < kVecs; ++v) {
      finish(c + row * ldc + v * kLanes, sums[row][v], cols - v * kLanes, alpha, beta);
    }
  }
}

template <int kRows>
void tile_rows_of(float* c, int64_t ldc, const float* a, int64_t a_stride, const float* b,
                  int64_t b_stride, int64_t rows, int64_t cols, int64_t k, float alpha,
                  float beta) {
  if (rows < kRows) {
    if constexpr (kRows > 1) {
      tile_rows_of<kRows - 1>(c, ldc, a, a_stride, b, b_stride, rows, cols, k, alpha, beta);
    }
  } else if (cols > kLanes) {
    tile_of<kRows, 2>(c, ldc, a, a_stride, b, b_stride, cols, k, alpha, beta);
  } else {
    tile_of<kRows, 1>(c, ldc, a, a_stride, b, b_stride, cols, k, alpha, beta);
  }
}

void tile(float* c, int64_t ldc, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
          int64_t rows, int64_t cols, int64_t k, float alpha, float beta) {
  tile_rows_of<kTileRows>(c, ldc, a, a_stride, b, b_stride, rows, cols, k, alpha, beta);
}

// dst [cols, dst_stride] = the transpose of src [rows, cols].
void transpose(float* dst, int64_t dst_stride, const float* src, int64_t ld, int64_t rows,
               int64_t cols) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + kTurned <= cols; c += kTurned) {
      for (int64_t i = r + 4; i < r + 8; ++i) prefetch(src + i * ld + c);
      turn_four(dst + c * dst_stride + r, dst_stride, src + r * ld + c, ld);
    }
    for (; c < cols; ++c) {
      for (int64_t i = r; i < r + 4; ++i) dst[c * dst_stride + i] = src[i * ld + c];
    }
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) dst[c * dst_stride + r] = src[r * ld + c];
  }
}

// dst [rows, dst_stride] = src [rows, cols].
void copy_rows(float* dst, int64_t dst_stride, const float* src, int64_t ld, int64_t rows,
               int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* const from = src + r * ld;
    float* const to = dst + r * dst_stride;
    for (int64_t c = 0; c < cols; ++c) to[c] = from[c];
  }
}

void pack_a(float* panel, int64_t row_stride, const float* a, int64_t lda, bool trans, int64_t rows,
            int64_t k) {
  if (trans) {
    copy_rows(panel, row_stride, a, lda, k, rows);
  } else {
    transpose(panel, row_stride, a, lda, rows, k);
  }
}

void pack_b(float* panel, int64_t width, const float* b, int64_t ldb, bool trans, int64_t cols,
            int64_t k) {
  if (cols < width) {
    for (int64_t i = 0; i < k * width; ++i) panel[i] = 0.0f;
  }
  if (trans) {
    transpose(panel, width, b, ldb, cols, k);
  } else {
    copy_rows(panel, width, b, ldb, k, cols);
  }
}

constexpr GemmKernels kGemmKernels = {kLanes, kTileRows, 2 * kLanes, pack_a, pack_b, tile};

}  // namespace
}  // namespace cpu
}  // namespace qlora
