// Packed causal attention with a shared prefix, forward: per token t and query head h
//   s[j] = q·k[j] / √D over the tokens j that t sees,  p = softmax(s),  out = Σ p[j] · v[j],
//   lse = log Σ e^s[j]
// Keys and values are packed once for all; then tiles of queries are taken in any order.
#include <vector>

#include "attention_keys.h"

namespace qlora {
namespace {

struct QueryTile {
  int64_t segment, first;
};

}  // namespace

void ops::attention_forward(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
                            const AttentionShape& shape, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  const cpu::Layout layout(shape);
  const cpu::PackedKeys keys = cpu::pack_keys(layout, qkv, ld, false, device);
  const int64_t D = shape.D, heads = shape.Q / shape.G;
  std::vector<QueryTile> tiles;
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
    const QueryTile& at = tiles[size_t(task / shape.G)];
    const int64_t g = task % shape.G, t = layout.begin(at.segment) + at.first;
    for (int64_t h = g * heads; h < (g + 1) * heads; ++h) {
      const cpu::AttentionTile tile = cpu::tile_of(layout, keys, qkv, ld, at.segment, h, at.first);
      layout.kernel().forward(tile, out + t * ld_out + h * D, ld_out,
                              lse != nullptr ? lse + h * shape.T + t : nullptr,
                              device.worker_scratch(worker));
    }
  });
}

}  // namespace qlora
