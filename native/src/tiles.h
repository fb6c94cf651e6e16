// The weights as the products take them: per group of linears one matrix [W | s·B], [out, in + R],
// s·B block-diagonal over the group's parts. Dequantised once and kept where memory allows
// ("resident"), else dequantised into one shared tile before each use.
#pragma once

#include <array>
#include <vector>

#include "architecture.h"
#include "arena.h"
#include "lora.h"
#include "ops.h"
#include "weights.h"

namespace qlora {

class Tiles {
 public:
  // Sizes only; nothing is allocated.
  Tiles(const Architecture& arch, const std::array<GroupShape, kGroups>& groups, bool resident);

  // Whether all dequantised weights together are small enough to keep: at most an eighth of memory.
  static bool choose_resident(const Architecture& arch,
                              const std::array<GroupShape, kGroups>& groups, int64_t memory_bytes);

  MemoryTable table() const { return arena_.table(); }
  // Allocates, and fills what is resident. lora: null without an adapter.
  void allocate(const Weights& weights, const Lora* lora, Device& device, Budget& budget);
  // After a change of the adapter.
  void update_lora(const Lora& lora, Device& device);

  // [W | s·B] of one group, rows groups[group].ld apart; valid until the next call.
  const act_t* get(int64_t layer, int group, const Weights& weights, const Lora* lora,
                   Device& device) const;
  bool resident() const { return resident_; }

 private:
  void fill_base(act_t* tile, int64_t layer, int group, const Weights& weights,
                 Device& device) const;
  // Appends the windows that make a tile's columns behind W: s·B on the block diagonal.
  void list_lora(std::vector<ops::CastWindow>& windows, act_t* tile, int64_t layer, int group,
                 const Lora& lora) const;

  const Architecture arch_;
  const std::array<GroupShape, kGroups> groups_;
  const bool resident_;
  Arena arena_;
  std::vector<std::array<act_t*, kGroups>> layers_;  // resident
  act_t* shared_ = nullptr;                          // not resident
};

}  // namespace qlora
