// Packed causal attention with a shared prefix, per token t and query head h:
//   s[j] = q·k[j] / √D over the tokens j that t sees,  p = softmax(s),  out = Σ p[j] · v[j],
//   lse = log Σ e^s[j]
//   backward: δ = dout·out,  p = e^(s − lse),  dv[j] += p[j] · dout,
//             ds[j] = p[j] · (dout·v[j] − δ) / √D,  dq = Σ ds[j] · k[j],  dk[j] += ds[j] · q
//
// Segment 0 is the prefix, segment s > 0 is sequence s − 1. Keys and values are packed once for
// all; then the forward pass takes tiles of queries in any order. In the backward pass a task owns
// a key head and either one sequence or, where a prefix is shared, a chunk of consecutive
// sequences: it adds up dk and dv in order, the prefix's in an accumulator of its chunk; the
// accumulators are summed in order at the end. Chunks depend on the batch alone, so the bits do not
// depend on threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int64_t kChunks = 4;  // of sequences that share a prefix

int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// The shape and where each segment's packed keys lie.
class Layout {
 public:
  explicit Layout(const ops::AttentionShape& shape)
      : shape_(shape), kernel_(kernels().attention), padded_D_(round_up(shape.D, kernel_.lanes)) {
    for (int64_t s = 0; s <= shape.S; ++s) {
      offsets_.push_back(total_);
      total_ += round_up(size(s), kernel_.panel_keys);
      longest_ = std::max(longest_, size(s));
    }
  }
  const ops::AttentionShape& shape() const { return shape_; }
  const AttentionKernels& kernel() const { return kernel_; }
  int64_t padded_D() const { return padded_D_; }
  int64_t longest() const { return longest_; }
  int64_t begin(int64_t s) const { return s == 0 ? 0 : shape_.cu_seqlens_host[s - 1]; }
  int64_t end(int64_t s) const { return s == 0 ? shape_.P : shape_.cu_seqlens_host[s]; }
  int64_t size(int64_t s) const { return end(s) - begin(s); }

  // Floats of one packed form of all keys, [G, keys, width].
  int64_t packed_size(int64_t width) const { return shape_.G * total_ * width; }
  int64_t packed_offset(int64_t s, int64_t g, int64_t width) const {
    return (g * total_ + offsets_[size_t(s)]) * width;
  }

 private:
  const ops::AttentionShape& shape_;
  const AttentionKernels& kernel_;
  int64_t padded_D_;
  int64_t total_ = 0, longest_ = 0;
  std::vector<int64_t> offsets_;  // first packed key of each segment
};

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

struct PackedKeys {
  float *k_panels, *v_panels, *k_rows, *v_rows;  // those a pass needs, the others null

  AttentionPart part(const Layout& layout, int64_t s, int64_t g, int64_t count, bool causal) const {
    const int64_t panels = layout.packed_offset(s, g, layout.shape().D);
    const int64_t rows = layout.packed_offset(s, g, layout.padded_D());
    const auto at = [](float* base, int64_t offset) { return base ? base + offset : nullptr; };
    return {count,
            causal,
            at(k_panels, panels),
            at(v_panels, panels),
            at(k_rows, rows),
            at(v_rows, rows),
            nullptr,
            nullptr};
  }
};

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

struct QueryTile {
  int64_t segment, first;
};

// ---- backward ---------------------------------------------------------------------------------

struct BackwardOperands {
  float* dqkv;
  int64_t ld_dqkv;
  const float* dout;
  int64_t ld_dout;
  const float* out;
  int64_t ld_out;
  const float* lse;
  const float* qkv;
  int64_t ld;
};

// Gradients of segment s under key head g. prefix_dk, prefix_dv [P, padded_D] are added to.
void backward_segment(const Layout& layout, const PackedKeys& keys, const BackwardOperands& x,
                      int64_t s, int64_t g, float* prefix_dk, float* prefix_dv, float* scratch) {
  const ops::AttentionShape& shape = layout.shape();
  const int64_t D = shape.D, width = layout.padded_D(), size = layout.size(s);
  float* const dk = scratch;
  float* const dv = dk + size * width;
  float* const tile_scratch = dv + size * width;
  std::fill(dk, tile_scratch, 0.0f);
  const int64_t heads = shape.Q / shape.G;
  for (int64_t h = g * heads; h < (g + 1) * heads; ++h) {
    for (int64_t first = 0; first < size; first += layout.kernel().tile_queries) {
      AttentionTile tile = tile_of(layout, keys, x.qkv, x.ld, s, h, first);
      AttentionPart& own = tile.parts[tile.part_count - 1];
      own.dk = dk;
      own.dv = dv;
      if (tile.part_count > 1) {
        tile.parts[0].dk = prefix_dk;
        tile.parts[0].dv = prefix_dv;
      }
      const int64_t t = layout.begin(s) + first;
      layout.kernel().backward(
          tile, x.dqkv + t * x.ld_dqkv + h * D, x.ld_dqkv, x.dout + t * x.ld_dout + h * D,
          x.ld_dout, x.out + t * x.ld_out + h * D, x.ld_out, x.lse + h * shape.T + t, tile_scratch);
    }
  }
  const bool to_prefix = s == 0;
  for (int64_t i = 0; i < size; ++i) {
    float* const row = x.dqkv + (layout.begin(s) + i) * x.ld_dqkv + (shape.Q + g) * D;
    std::copy_n(dk + i * width, D, to_prefix ? prefix_dk + i * width : row);
    std::copy_n(dv + i * width, D, to_prefix ? prefix_dv + i * width : row + shape.G * D);
  }
}

// First sequence (as a segment) of a chunk: cut where the tokens before it reach the chunk's share.
int64_t chunk_begin(const Layout& layout, int64_t chunk) {
  const ops::AttentionShape& shape = layout.shape();
  const int64_t tokens = shape.T - shape.P;
  int64_t s = 1;
  while (s <= shape.S && (layout.begin(s) - shape.P) * kChunks < tokens * chunk) ++s;
  return chunk >= kChunks ? shape.S + 1 : s;
}

// Accumulators of the prefix: [kChunks + 1, G, 2 (dk, dv), P, padded_D]; the last chunk is the
// prefix's own queries.
int64_t accumulator_size(const ops::AttentionShape& shape) {
  return 2 * shape.P * round_up(shape.D, kernels().attention.lanes);
}

void backward_shared(const Layout& layout, const PackedKeys& keys, const BackwardOperands& x,
                     float* accumulators, CpuDevice& device) {
  const ops::AttentionShape& shape = layout.shape();
  const int64_t G = shape.G, D = shape.D, width = layout.padded_D();
  const int64_t size = accumulator_size(shape);
  device.parallel((kChunks + 1) * G, [&](int64_t task, int worker) {
    const int64_t chunk = task / G, g = task % G;
    float* const dk = accumulators + task * size;
    float* const dv = dk + shape.P * width;
    std::fill_n(dk, size, 0.0f);
    const int64_t first = chunk < kChunks ? chunk_begin(layout, chunk) : 0;
    const int64_t last = chunk < kChunks ? chunk_begin(layout, chunk + 1) : 1;
    for (int64_t s = first; s < last; ++s) {
      backward_segment(layout, keys, x, s, g, dk, dv, device.worker_scratch(worker));
    }
  });
  device.parallel_range(shape.P, grain(G * D * kChunks), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t row = 0; row < 2 * G; ++row) {  // G keys, then G values
        const int64_t g = row % G, part = row / G;
        float* const to = x.dqkv + i * x.ld_dqkv + (shape.Q + row) * D;
        for (int64_t c = 0; c < D; ++c) {
          float sum = 0.0f;
          for (int64_t chunk = 0; chunk <= kChunks; ++chunk) {
            sum += accumulators[(chunk * G + g) * size + (part * shape.P + i) * width + c];
          }
          to[c] = sum;
        }
      }
    }
  });
}

}  // namespace
}  // namespace cpu

void ops::attention_forward(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
                            const AttentionShape& shape, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  const cpu::Layout layout(shape);
  const cpu::PackedKeys keys = cpu::pack_keys(layout, qkv, ld, false, device);
  const int64_t D = shape.D, heads = shape.Q / shape.G;
  std::vector<cpu::QueryTile> tiles;
  for (int64_t s = 0; s <= shape.S; ++s) {
    for (int64_t first = 0; first < layout.size(s); first += layout.kernel().tile_queries) {
      tiles.push_back({s, first});
    }
  }
  const int64_t most_keys = shape.P + layout.longest();
  device.reserve_worker_scratch(size_t(layout.kernel().forward_scratch(D, most_keys)) *
                                sizeof(float));
  const int64_t tile_count = static_cast<int64_t>(tiles.size());
  device.parallel(tile_count * shape.G, [&](int64_t task, int worker) {
    const cpu::QueryTile& at = tiles[size_t(task / shape.G)];
    const int64_t g = task % shape.G, t = layout.begin(at.segment) + at.first;
    for (int64_t h = g * heads; h < (g + 1) * heads; ++h) {
      const cpu::AttentionTile tile = cpu::tile_of(layout, keys, qkv, ld, at.segment, h, at.first);
      layout.kernel().forward(tile, out + t * ld_out + h * D, ld_out,
                              lse != nullptr ? lse + h * shape.T + t : nullptr,
                              device.worker_scratch(worker));
    }
  });
}

size_t ops::attention_backward_workspace(const AttentionShape& shape) {
  const int64_t accumulators = shape.P > 0 ? (cpu::kChunks + 1) * shape.G : 0;
  return size_t(accumulators * cpu::accumulator_size(shape)) * sizeof(float);
}

void ops::attention_backward(act_t* dqkv, int64_t ld_dqkv, const act_t* dout, int64_t ld_dout,
                             const act_t* out, int64_t ld_out, const float* lse, const act_t* qkv,
                             int64_t ld, void* workspace, const AttentionShape& shape, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  const cpu::Layout layout(shape);
  const cpu::PackedKeys keys = cpu::pack_keys(layout, qkv, ld, true, device);
  const cpu::BackwardOperands x = {dqkv, ld_dqkv, dout, ld_dout, out, ld_out, lse, qkv, ld};
  const int64_t tile_floats = layout.kernel().backward_scratch(shape.D, shape.P + layout.longest());
  const int64_t own_floats = 2 * layout.longest() * layout.padded_D();
  device.reserve_worker_scratch(size_t(tile_floats + own_floats) * sizeof(float));
  if (shape.P > 0) {
    cpu::backward_shared(layout, keys, x, static_cast<float*>(workspace), device);
    return;
  }
  device.parallel(shape.S * shape.G, [&](int64_t task, int worker) {
    cpu::backward_segment(layout, keys, x, 1 + task / shape.G, task % shape.G, nullptr, nullptr,
                          device.worker_scratch(worker));
  });
}

}  // namespace qlora
