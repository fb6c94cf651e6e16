// Products with few rows, for decoding.
#pragma once

#include "kernels.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

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

}  // namespace
}  // namespace cpu
}  // namespace qlora
