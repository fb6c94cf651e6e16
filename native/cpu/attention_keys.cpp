// attention_keys.h
#include "attention_keys.h"

#include <cmath>

namespace qlora {
namespace cpu {
namespace {

// Packed copies of k and v (column offset `column` of qkv for head 0): as panels, as rows.
void pack_panels(float* packed, const Layout& layout, const float* qkv, int64_t ld, int64_t column,
                 int64_t s, int64_t g) {
  const int64_t D = layout.shape().D, keys = layout.kernel().panel_keys;
  float* panel = packed + layout.packed_offset(s, g, D);
  for (int64_t key = layout.begin(s); key < layout.end(s); key += keys, panel += keys * D) {
    const int64_t count = std::min(keys, layout.end(s) - key);
    kernels().gemm.pack_b(panel, keys, qkv + key * ld + column + g * D, ld, true, count, D);
  }
}

void pack_rows(float* packed, const Layout& layout, const float* qkv, int64_t ld, int64_t column,
               int64_t s, int64_t g) {
  const int64_t D = layout.shape().D, width = layout.padded_D();
  float* row = packed + layout.packed_offset(s, g, width);
  for (int64_t key = layout.begin(s); key < layout.end(s); ++key, row += width) {
    std::copy_n(qkv + key * ld + column + g * D, D, row);
    std::fill(row + D, row + width, 0.0f);
  }
}

}  // namespace

PackedKeys pack_keys(const Layout& layout, const float* qkv, int64_t ld, bool backward,
                     CpuDevice& device) {
  const ops::AttentionShape& shape = layout.shape();
  const int64_t panels = layout.packed_size(shape.D);
  const int64_t rows = layout.packed_size(layout.padded_D());
  const size_t floats = size_t((backward ? 2 : 1) * panels + rows);
  float* const scratch = device.shared_scratch(floats * sizeof(float));
  const PackedKeys keys = backward
                              ? PackedKeys{scratch, scratch + panels, scratch + 2 * panels, nullptr}
                              : PackedKeys{scratch, nullptr, nullptr, scratch + panels};
  const int64_t k_column = shape.Q * shape.D, v_column = k_column + shape.G * shape.D;
  device.parallel((shape.S + 1) * shape.G, [&](int64_t task, int) {
    const int64_t s = task / shape.G, g = task % shape.G;
    pack_panels(keys.k_panels, layout, qkv, ld, k_column, s, g);
    if (backward) {
      pack_panels(keys.v_panels, layout, qkv, ld, v_column, s, g);
      pack_rows(keys.k_rows, layout, qkv, ld, k_column, s, g);
    } else {
      pack_rows(keys.v_rows, layout, qkv, ld, v_column, s, g);
    }
  });
  return keys;
}

// The tile of queries [first, …) of segment s, head h.
AttentionTile tile_of(const Layout& layout, const PackedKeys& keys, const float* qkv, int64_t ld,
                      int64_t s, int64_t h, int64_t first) {
  const ops::AttentionShape& shape = layout.shape();
  const int64_t g = h / (shape.Q / shape.G);
  AttentionTile tile;
  tile.D = shape.D;
  tile.padded_D = layout.padded_D();
  tile.queries = std::min<int64_t>(layout.kernel().tile_queries, layout.size(s) - first);
  tile.first = first;
  tile.scale = 1.0f / std::sqrt(static_cast<float>(shape.D));
  tile.q = qkv + (layout.begin(s) + first) * ld + h * shape.D;
  tile.ld = ld;
  tile.part_count = 0;
  if (s > 0 && shape.P > 0) {
    tile.parts[tile.part_count++] = keys.part(layout, 0, g, shape.P, false);
  }
  tile.parts[tile.part_count++] = keys.part(layout, s, g, first + tile.queries, true);
  return tile;
}

}  // namespace cpu
}  // namespace qlora
