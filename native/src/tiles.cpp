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
      if (lora != nullptr) fill_lora(tile, layer, g, *lora, true, device);
    }
  }
}

void Tiles::update_lora(const Lora& lora, Device& device) {
  if (!resident_) return;
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      fill_lora(layers_[static_cast<size_t>(layer)][static_cast<size_t>(g)], layer, g, lora, false,
                device);
    }
  }
}

const act_t* Tiles::get(int64_t layer, int group, const Weights& weights, const Lora* lora,
                        Device& device) const {
  if (resident_) return layers_[static_cast<size_t>(layer)][static_cast<size_t>(group)];
  fill_base(shared_, layer, group, weights, device);
  if (lora != nullptr) fill_lora(shared_, layer, group, *lora, true, device);
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

void Tiles::fill_lora(act_t* tile, int64_t layer, int group, const Lora& lora, bool clear,
                      Device& device) const {
  const GroupShape& shape = groups_[static_cast<size_t>(group)];
  if (shape.rank == 0) return;
  if (clear) ops::fill_zero_2d(tile + shape.in, shape.ld, shape.out, shape.rank, device);
  for (int p = 0; p < shape.num_parts; ++p) {
    const GroupPart& part = shape.parts[static_cast<size_t>(p)];
    if (part.rank == 0) continue;
    act_t* block = tile + part.out_offset * shape.ld + shape.in + part.rank_offset;
    ops::scale_cast(block, shape.ld, lora.parameters() + lora.b_offset(layer, group, p), part.out,
                    part.rank, lora.scale(), device);
  }
}

}  // namespace qlora
