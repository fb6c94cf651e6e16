#include "tiles.h"

#include <algorithm>

namespace qlora {

namespace {

constexpr int64_t kResidentShare = 4;  // of memory: all dequantised weights
constexpr int64_t kTileShare = 128;    // of memory: the tile that all share
constexpr int64_t kLeastColumns = 16;  // of a window

// Items a window takes when `most` fit at once: few windows of about equal size, whole multiples of
// what the products divide their work into.
int64_t step_of(int64_t total, int64_t most) {
  if (most >= total) return total;
  const int64_t unit = most >= 128 ? 128 : most >= kLeastColumns ? kLeastColumns : 1;
  const int64_t windows = (total + most - 1) / most;
  const int64_t even = ((total + windows - 1) / windows + unit - 1) / unit * unit;
  return even <= most ? even : most / unit * unit;
}

}  // namespace

Tiles::Tiles(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
             int64_t memory_bytes)
    : arch_(arch), groups_(groups), resident_(resident_bytes() <= memory_bytes / kResidentShare) {
  for (int g = 0; g < kGroups; ++g) {
    row_steps_[static_cast<size_t>(g)] = shape(g).out;
    column_steps_[static_cast<size_t>(g)] = shape(g).in;
  }
  if (!resident_) {
    add_shared_tile(memory_bytes);
    return;
  }
  layers_.resize(static_cast<size_t>(arch_.L));
  for (std::array<act_t*, kGroups>& layer : layers_) {
    for (size_t g = 0; g < layer.size(); ++g) {
      arena_.add(layer[g], Memory::workspace, groups_[g].out * groups_[g].ld);
    }
  }
}

int64_t Tiles::resident_bytes() const {
  int64_t elements = 0;
  for (const GroupShape& group : groups_) elements += group.out * group.ld;
  return arch_.L * elements * static_cast<int64_t>(sizeof(act_t));
}

void Tiles::add_shared_tile(int64_t memory_bytes) {
  int64_t elements = memory_bytes / kTileShare / static_cast<int64_t>(sizeof(act_t));
  int64_t largest = 0;
  for (const GroupShape& group : groups_) {
    elements = std::max({elements, group.ld, group.out * padded(kLeastColumns + group.rank)});
    largest = std::max(largest, group.out * group.ld);
  }
  elements = std::min(elements, largest);
  int64_t used = 0;
  for (size_t g = 0; g < groups_.size(); ++g) {
    const GroupShape& group = groups_[g];
    if (group.out * group.ld <= elements) {
      used = std::max(used, group.out * group.ld);
      continue;
    }
    const int64_t pitch = padded(elements / group.out + 1) - padded(1);  // at most
    const int64_t columns = (pitch - group.rank) / kLeastColumns * kLeastColumns;
    row_steps_[g] = step_of(group.out, elements / group.ld);
    column_steps_[g] = step_of(group.in, columns);
    used = std::max(
        {used, row_steps_[g] * group.ld, group.out * padded(column_steps_[g] + group.rank)});
  }
  arena_.add(shared_, Memory::workspace, used);
}

void Tiles::allocate(const Weights& weights, const Lora* lora, Device& device, Budget& budget) {
  arena_.allocate(device, budget, "the dequantised weights");
  if (!resident_) return;
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      act_t* tile = layers_[static_cast<size_t>(layer)][static_cast<size_t>(g)];
      fill_rows(tile, layer, g, 0, shape(g).out, weights, device);
    }
  }
  if (lora != nullptr) update_lora(*lora, device);
}

void Tiles::update_lora(const Lora& lora, Device& device) {
  if (!resident_) return;
  std::vector<ops::CastWindow> windows;
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      act_t* tile = layers_[static_cast<size_t>(layer)][static_cast<size_t>(g)];
      list_lora(windows, tile + shape(g).in, shape(g).ld, layer, g, 0, shape(g).out, lora);
    }
  }
  ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device);
}

Tiles::Window Tiles::rows(int64_t layer, int group, int64_t begin, int64_t count,
                          const Weights& weights, const Lora* lora, Device& device) const {
  const int64_t ld = shape(group).ld;
  if (resident_) return {resident(layer, group) + begin * ld, ld};
  fill_rows(shared_, layer, group, begin, count, weights, device);
  if (lora != nullptr) {
    fill_lora(shared_ + shape(group).in, ld, layer, group, begin, count, *lora, device);
  }
  return {shared_, ld};
}

Tiles::Window Tiles::columns(int64_t layer, int group, int64_t begin, int64_t count,
                             const Weights& weights, const Lora* lora, Device& device) const {
  const GroupShape& whole = shape(group);
  if (resident_) return {resident(layer, group) + begin, whole.ld};
  const int64_t of_base = std::max<int64_t>(0, std::min(begin + count, whole.in) - begin);
  const int64_t ld = padded(count);
  if (of_base > 0) {
    for (int p = 0; p < whole.num_parts; ++p) {
      const GroupPart& part = whole.parts[static_cast<size_t>(p)];
      ops::dequantize(shared_ + part.out_offset * ld, ld, weights.linear(layer, part.module), 0,
                      part.out, begin, of_base, device);
    }
  }
  if (lora != nullptr && of_base < count) {
    fill_lora(shared_ + of_base, ld, layer, group, 0, whole.out, *lora, device);
  }
  return {shared_, ld};
}

void Tiles::fill_rows(act_t* tile, int64_t layer, int group, int64_t begin, int64_t count,
                      const Weights& weights, Device& device) const {
  const GroupShape& whole = shape(group);
  for (int p = 0; p < whole.num_parts; ++p) {
    const GroupPart& part = whole.parts[static_cast<size_t>(p)];
    const int64_t first = std::max(begin, part.out_offset);
    const int64_t last = std::min(begin + count, part.out_offset + part.out);
    if (first >= last) continue;
    ops::dequantize(tile + (first - begin) * whole.ld, whole.ld, weights.linear(layer, part.module),
                    first - part.out_offset, last - first, 0, whole.in, device);
  }
}

void Tiles::fill_lora(act_t* block, int64_t ld, int64_t layer, int group, int64_t begin,
                      int64_t count, const Lora& lora, Device& device) const {
  std::vector<ops::CastWindow> windows;
  list_lora(windows, block, ld, layer, group, begin, count, lora);
  ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device);
}

void Tiles::list_lora(std::vector<ops::CastWindow>& windows, act_t* block, int64_t ld,
                      int64_t layer, int group, int64_t begin, int64_t count,
                      const Lora& lora) const {
  const GroupShape& whole = shape(group);
  if (whole.rank == 0) return;
  for (int p = 0; p < whole.num_parts; ++p) {
    const GroupPart& part = whole.parts[static_cast<size_t>(p)];
    const int64_t first = std::max(begin, part.out_offset);
    const int64_t last = std::min(begin + count, part.out_offset + part.out);
    if (first >= last) continue;
    const float* b =
        lora.parameters() + lora.b_offset(layer, group, p) + (first - part.out_offset) * part.rank;
    windows.push_back({block + (first - begin) * ld, ld, b, last - first,
                       static_cast<int32_t>(whole.rank), static_cast<int32_t>(part.rank_offset),
                       static_cast<int32_t>(part.rank), lora.scale()});
  }
}

}  // namespace qlora
