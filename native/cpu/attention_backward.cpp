// Packed causal attention with a shared prefix, backward: per token t and query head h, with the
// forward's s and lse (attention_forward.cpp)
//   δ = dout·out,  p = e^(s − lse),  dv[j] += p[j] · dout,
//   ds[j] = p[j] · (dout·v[j] − δ) / √D,  dq = Σ ds[j] · k[j],  dk[j] += ds[j] · q
//
// A task owns a key head and either one sequence or, where a prefix is shared, a chunk of
// consecutive sequences: it adds up dk and dv in order, the prefix's in an accumulator of its
// chunk; the accumulators are summed in order at the end. Chunks depend on the batch alone, so the
// bits do not depend on threads.
#include <algorithm>

#include "attention_keys.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int64_t kChunks = 4;  // of sequences that share a prefix

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
