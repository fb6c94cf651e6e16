// Attention of one tile of queries, forward and backward (formulas in attention_forward.cpp and
// attention_backward.cpp), for the instruction set of the including file. Scores are [key, query]:
// Sᵀ = K · Qᵀ.
#pragma once

#include "gemm_kernels.h"
#include "kernels.h"
#include "simd.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int kQueries = 2 * kLanes;  // of a tile: one score row is two vectors

inline int64_t padded(int64_t D) { return (D + kLanes - 1) / kLanes * kLanes; }
inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// ---- products ---------------------------------------------------------------------------------

// scores [keys, kQueries] = alpha · panels · columns, columns [D, kQueries].
void scores_of(float* scores, const float* panels, const float* columns, int64_t keys, int64_t D,
               float alpha) {
  for (int64_t key = 0; key < keys; key += kTileRows) {
    tile(scores + key * kQueries, kQueries, panels + key * D, kTileRows, columns, kQueries,
         least(kTileRows, keys - key), kQueries, D, alpha, 0.0f);
  }
}

// c [queries, D] = scoresᵀ · rows + beta · c, scores [keys, kQueries], rows [keys, width].
void weigh_rows(float* c, int64_t ldc, const float* scores, const float* rows, int64_t width,
                int64_t queries, int64_t keys, int64_t D, float beta) {
  const int64_t pieces = (queries + kTileRows - 1) / kTileRows;
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = queries * piece / pieces, last = queries * (piece + 1) / pieces;
    for (int64_t col = 0; col < D; col += 2 * kLanes) {
      tile(c + first * ldc + col, ldc, scores + first, kQueries, rows + col, width, last - first,
           least(2 * kLanes, D - col), keys, 1.0f, beta);
    }
  }
}

// c [keys, width] += scores · rows, scores [keys, kQueries], rows [queries, width]: a tile whose
// left side has its rows kQueries apart.
template <int kRows, int kVecs>
void add_outer_of(float* c, int64_t width, const float* scores, const float* rows,
                  int64_t queries) {
  Vec sums[kRows][kVecs];
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < kVecs; ++v) sums[row][v] = zero();
  }
  for (int64_t p = 0; p < queries; ++p) {
    Vec columns[kVecs];
    for (int v = 0; v < kVecs; ++v) columns[v] = load(rows + v * kLanes);
    for (int row = 0; row < kRows; ++row) {
      const Vec value = broadcast(scores[row * kQueries + p]);
      for (int v = 0; v < kVecs; ++v) sums[row][v] = fma(value, columns[v], sums[row][v]);
    }
    rows += width;
  }
  for (int row = 0; row < kRows; ++row) {
    for (int v = 0; v < kVecs; ++v) {
      float* const to = c + row * width + v * kLanes;
      store(to, add(load(to), sums[row][v]));
    }
  }
}

template <int kRows>
void add_outer(float* c, int64_t width, const float* scores, const float* rows, int64_t keys,
               int64_t queries) {
  if (keys < kRows) {
    if constexpr (kRows > 1) add_outer<kRows - 1>(c, width, scores, rows, keys, queries);
    return;
  }
  int64_t col = 0;
  for (; col + 2 * kLanes <= width; col += 2 * kLanes) {
    add_outer_of<kRows, 2>(c + col, width, scores, rows + col, queries);
  }
  if (col < width) add_outer_of<kRows, 1>(c + col, width, scores, rows + col, queries);
}

// ---- masks, softmax ---------------------------------------------------------------------------

// Replaces the first `count` of a row's kQueries values.
inline void fill_first(float* row, float value, int64_t count) {
  const Vec values = broadcast(value);
  if (count >= kLanes) {
    store(row, values);
    row += kLanes;
    count -= kLanes;
  }
  if (count >= kLanes) {
    store(row, values);
  } else if (count > 0) {
    store_first(row, values, count);
  }
}

// Queries of the tile, from the first on, that do not see `key` of a causal part.
inline int64_t blind(const AttentionTile& tile, int64_t key) {
  const int64_t count = key - tile.first;
  return count < 0 ? 0 : least(count, kQueries);
}

// scores ← e^(scores − max), per query; returns max and Σ.
void exponentiate(float* scores, int64_t keys, float* top_of_query, float* sum_of_query) {
  Vec top[2] = {broadcast(-INFINITY), broadcast(-INFINITY)};
  for (int64_t key = 0; key < keys; ++key) {
    for (int v = 0; v < 2; ++v) top[v] = max(top[v], load(scores + key * kQueries + v * kLanes));
  }
  Vec sum[2] = {zero(), zero()};
  for (int64_t key = 0; key < keys; ++key) {
    for (int v = 0; v < 2; ++v) {
      float* const at = scores + key * kQueries + v * kLanes;
      const Vec p = exp(sub(load(at), top[v]));
      sum[v] = add(sum[v], p);
      store(at, p);
    }
  }
  for (int v = 0; v < 2; ++v) {
    store(top_of_query + v * kLanes, top[v]);
    store(sum_of_query + v * kLanes, sum[v]);
  }
}

// ---- forward ----------------------------------------------------------------------------------

int64_t attention_forward_scratch(int64_t D, int64_t keys) {
  return (D + keys + kTileRows) * kQueries;
}

void attention_forward_tile(const AttentionTile& tile, float* out, int64_t ld_out, float* lse,
                            float* scratch) {
  float* const q_columns = scratch;
  float* const scores = q_columns + tile.D * kQueries;
  pack_b(q_columns, kQueries, tile.q, tile.ld, true, tile.queries, tile.D);

  int64_t keys = 0;
  for (int i = 0; i < tile.part_count; ++i) {
    const AttentionPart& part = tile.parts[i];
    float* const part_scores = scores + keys * kQueries;
    scores_of(part_scores, part.k_panels, q_columns, part.count, tile.D, tile.scale);
    for (int64_t key = part.causal ? tile.first : part.count; key < part.count; ++key) {
      fill_first(part_scores + key * kQueries, -INFINITY, blind(tile, key));
    }
    keys += part.count;
  }

  float top[kQueries], sum[kQueries];
  exponentiate(scores, keys, top, sum);

  keys = 0;
  for (int i = 0; i < tile.part_count; ++i) {
    const AttentionPart& part = tile.parts[i];
    weigh_rows(out, ld_out, scores + keys * kQueries, part.v_rows, tile.padded_D, tile.queries,
               part.count, tile.D, i == 0 ? 0.0f : 1.0f);
    keys += part.count;
  }
  for (int64_t i = 0; i < tile.queries; ++i) {
    const float share = 1.0f / sum[i];
    for (int64_t c = 0; c < tile.D; ++c) out[i * ld_out + c] *= share;
    if (lse != nullptr) lse[i] = top[i] + std::log(sum[i]);
  }
}

// ---- backward ---------------------------------------------------------------------------------

int64_t attention_backward_scratch(int64_t D, int64_t keys) {
  return (2 * D + 2 * kTileRows + keys + kTileRows) * kQueries + 2 * kQueries * padded(D);
}

// dst [kQueries, width] = src [queries, D], zero elsewhere.
void pad_rows(float* dst, int64_t width, const float* src, int64_t ld, int64_t queries, int64_t D) {
  for (int64_t i = 0; i < kQueries * width; ++i) dst[i] = 0.0f;
  copy_rows(dst, width, src, ld, queries, D);
}

struct BackwardScratch {
  float *q_columns, *dout_columns;  // [D, kQueries]
  float *q_rows, *dout_rows;        // [kQueries, padded_D]
  float *p, *dp;                    // [kTileRows, kQueries]
  float* ds;                        // [keys, kQueries]
};

// p = e^(s − lse) (0 where a query does not see the key), ds = scale · p · (dp − δ), for some keys.
void score_gradients(const AttentionTile& tile, bool causal, int64_t first_key, int64_t keys,
                     const float* lse, const float* delta, float* p, const float* dp, float* ds) {
  for (int64_t key = 0; key < keys; ++key) {
    float* const row = p + key * kQueries;
    for (int v = 0; v < 2; ++v) {
      const int64_t at = v * kLanes;
      store(row + at, exp(sub(load(row + at), load(lse + at))));
    }
    if (causal) fill_first(row, 0.0f, blind(tile, first_key + key));
    for (int v = 0; v < 2; ++v) {
      const int64_t at = v * kLanes;
      const Vec slope = sub(load(dp + key * kQueries + at), load(delta + at));
      store(ds + key * kQueries + at, mul(mul(broadcast(tile.scale), load(row + at)), slope));
    }
  }
}

// One part's share of dk, dv (accumulated) and its ds.
void backward_part(const AttentionTile& tile, const AttentionPart& part, const float* lse,
                   const float* delta, const BackwardScratch& x, float* ds) {
  for (int64_t key = 0; key < part.count; key += kTileRows) {
    const int64_t keys = least(kTileRows, part.count - key);
    scores_of(x.p, part.k_panels + key * tile.D, x.q_columns, keys, tile.D, tile.scale);
    scores_of(x.dp, part.v_panels + key * tile.D, x.dout_columns, keys, tile.D, 1.0f);
    float* const panel_ds = ds + key * kQueries;
    score_gradients(tile, part.causal, key, keys, lse, delta, x.p, x.dp, panel_ds);
    add_outer<kTileRows>(part.dv + key * tile.padded_D, tile.padded_D, x.p, x.dout_rows, keys,
                         tile.queries);
    add_outer<kTileRows>(part.dk + key * tile.padded_D, tile.padded_D, panel_ds, x.q_rows, keys,
                         tile.queries);
  }
}

void attention_backward_tile(const AttentionTile& tile, float* dq, int64_t ld_dq, const float* dout,
                             int64_t ld_dout, const float* out, int64_t ld_out, const float* lse,
                             float* scratch) {
  const int64_t D = tile.D, width = tile.padded_D, n = tile.queries;
  BackwardScratch x;
  x.q_columns = scratch;
  x.dout_columns = x.q_columns + D * kQueries;
  x.q_rows = x.dout_columns + D * kQueries;
  x.dout_rows = x.q_rows + kQueries * width;
  x.p = x.dout_rows + kQueries * width;
  x.dp = x.p + kTileRows * kQueries;
  x.ds = x.dp + kTileRows * kQueries;
  pack_b(x.q_columns, kQueries, tile.q, tile.ld, true, n, D);
  pack_b(x.dout_columns, kQueries, dout, ld_dout, true, n, D);
  pad_rows(x.q_rows, width, tile.q, tile.ld, n, D);
  pad_rows(x.dout_rows, width, dout, ld_dout, n, D);

  float lse_of[kQueries], delta[kQueries];
  for (int64_t i = 0; i < kQueries; ++i) {  // a query that is not there weighs nothing
    lse_of[i] = i < n ? lse[i] : INFINITY;
    delta[i] = 0.0f;
    for (int64_t c = 0; i < n && c < D; ++c)
      delta[i] += dout[i * ld_dout + c] * out[i * ld_out + c];
  }

  int64_t keys = 0;
  for (int i = 0; i < tile.part_count; ++i) {
    const AttentionPart& part = tile.parts[i];
    float* const ds = x.ds + keys * kQueries;
    backward_part(tile, part, lse_of, delta, x, ds);
    weigh_rows(dq, ld_dq, ds, part.k_rows, width, n, part.count, D, i == 0 ? 0.0f : 1.0f);
    keys += part.count;
  }
}

constexpr AttentionKernels kAttentionKernels = {kQueries,
                                                kTileRows,
                                                kLanes,
                                                attention_forward_scratch,
                                                attention_backward_scratch,
                                                attention_forward_tile,
                                                attention_backward_tile};

}  // namespace
}  // namespace cpu
}  // namespace qlora
