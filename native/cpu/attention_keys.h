// Where the segments of a packed batch lie, and their keys and values packed for the tiles.
// Segment 0 is the prefix, segment s > 0 is sequence s − 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {
namespace cpu {

inline int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// The shape, and the place of each segment's packed keys.
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

// Packs all keys and values into the device's shared scratch, where they stay until the next op:
// k panels and v rows for the forward pass; k panels, v panels and k rows for the backward pass.
PackedKeys pack_keys(const Layout& layout, const float* qkv, int64_t ld, bool backward,
                     CpuDevice& device);

// The tile of queries [first, …) of segment s, head h.
AttentionTile tile_of(const Layout& layout, const PackedKeys& keys, const float* qkv, int64_t ld,
                      int64_t s, int64_t h, int64_t first);

}  // namespace cpu
}  // namespace qlora
