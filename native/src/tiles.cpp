#include "tiles.h"

#include <algorithm>

namespace qlora {

namespace {

constexpr int64_t kResidentShare = 8;

}  // namespace

bool Tiles::choose_resident(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                            int64_t memory_bytes) {
  return Tiles(arch, groups, true).table().total() <= memory_bytes / kResidentShare;
}

Tiles::Tiles(const Architecture& arch, const std::array<GroupShape, kGroups>& groups, bool resident)
    : arch_(arch), groups_(groups), resident_(resident) {
  if (!resident_) {
    int64_t largest = 0;
    for (const GroupShape& group : groups_) largest = std::max(largest, group.out * group.ld);
    arena_.add(shared_, Memory::workspace, largest);
    return;
  }
  layers_.resize(static_cast<size_t>(arch_.L));
  for (std::array<act_t*, kGroups>& layer : layers_) {
    for (size_t g = 0; g < layer.size(); ++g) {
      arena_.add(layer[g], Memory::workspace, groups_[g].out * groups_[g].ld);
    }
  }
}

void Tiles::allocate(const Weights& weights, const Lora* lora, Device& device, Budget& budget) {
  arena_.allocate(device, budget, "the dequantised weights");
  if (!resident_) return;
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      act_t* tile = layers_[static_cast<size_t>(layer)][static_cast<size_t>(g)];
      fill_base(tile, layer, g, weights, device);
    }
  }
  if (lora != nullptr) update_lora(*lora, device);
}

void Tiles::update_lora(const Lora& lora, Device& device) {
  if (!resident_) return;
  std::vector<ops::CastWindow> windows;
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      list_lora(windows, layers_[static_cast<size_t>(layer)][static_cast<size_t>(g)], layer, g,
                lora);
    }
  }
  ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device);
}

const act_t* Tiles::get(int64_t layer, int group, const Weights& weights, const Lora* lora,
                        Device& device) const {
  if (resident_) return layers_[static_cast<size_t>(layer)][static_cast<size_t>(group)];
  fill_base(shared_, layer, group, weights, device);
  if (lora == nullptr) return shared_;
  std::vector<ops::CastWindow> windows;
  list_lora(windows, shared_, layer, group, *lora);
  ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device);
  return shared_;
}

void Tiles::fill_base(act_t* tile, int64_t layer, int group, const Weights& weights,
                      Device& device) const {
  const GroupShape& shape = groups_[static_cast<size_t>(group)];
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& part = shape.parts[static_cast<size_t>(p)];
    ops::dequantize(tile + part.out_offset * shape.ld, shape.ld, weights.linear(layer, part.module),
                    0, part.out, device);
  }
}

void Tiles::list_lora(std::vector<ops::CastWindow>& windows, act_t* tile, int64_t layer, int group,
                      const Lora& lora) const {
  const GroupShape& shape = groups_[static_cast<size_t>(group)];
  if (shape.rank == 0) return;
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& part = shape.parts[static_cast<size_t>(p)];
    windows.push_back({tile + part.out_offset * shape.ld + shape.in, shape.ld,
                       lora.parameters() + lora.b_offset(layer, group, p), part.out,
                       static_cast<int32_t>(shape.rank), static_cast<int32_t>(part.rank_offset),
                       static_cast<int32_t>(part.rank), lora.scale()});
  }
}

}  // namespace qlora
