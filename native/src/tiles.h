// The weights as the products take them: per group of linears one matrix [W | s·B], [out, in + R],
// s·B block-diagonal over the group's parts. Dequantised once and kept where memory allows
// ("resident"), else dequantised before each use into one tile that all share: the whole matrix, or
// where memory is short a window of it: rows for Y = X·Wᵀ, columns for dX = dY·W.
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
  // memory_bytes: of the device, or the budget. All dequantised weights stay when they take at most
  // a quarter of it; else the tile takes at most a share of it. Sizes only; nothing is allocated.
  Tiles(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
        int64_t memory_bytes);

  MemoryTable table() const { return arena_.table(); }
  // Allocates, and fills what is resident. lora: null without an adapter.
  void allocate(const Weights& weights, const Lora* lora, Device& device, Budget& budget);
  // After a change of the adapter.
  void update_lora(const Lora& lora, Device& device);

  // A window of one group's [W | s·B], rows ld apart; valid until the next call.
  struct Window {
    const act_t* data;
    int64_t ld;
  };
  // Rows a window of rows has at most: all, or fewer when the tile is small. Columns likewise; the
  // last window of columns takes the R of s·B as well.
  int64_t rows_at_once(int group) const { return row_steps_[static_cast<size_t>(group)]; }
  int64_t columns_at_once(int group) const { return column_steps_[static_cast<size_t>(group)]; }
  // [count, in + R]: rows [begin, begin + count).
  Window rows(int64_t layer, int group, int64_t begin, int64_t count, const Weights& weights,
              const Lora* lora, Device& device) const;
  // [out, count]: columns [begin, begin + count) of the in + R.
  Window columns(int64_t layer, int group, int64_t begin, int64_t count, const Weights& weights,
                 const Lora* lora, Device& device) const;
  // The resident matrix, rows groups[group].ld apart.
  const act_t* resident(int64_t layer, int group) const {
    return layers_[static_cast<size_t>(layer)][static_cast<size_t>(group)];
  }
  bool resident() const { return resident_; }

 private:
  const GroupShape& shape(int group) const { return groups_[static_cast<size_t>(group)]; }
  int64_t resident_bytes() const;
  void add_shared_tile(int64_t memory_bytes);
  // Appends what makes the columns behind W in rows [begin, begin + count): s·B on the block
  // diagonal. block: R columns, rows ld apart.
  void list_lora(std::vector<ops::CastWindow>& windows, act_t* block, int64_t ld, int64_t layer,
                 int group, int64_t begin, int64_t count, const Lora& lora) const;
  void fill_lora(act_t* block, int64_t ld, int64_t layer, int group, int64_t begin, int64_t count,
                 const Lora& lora, Device& device) const;
  void fill_rows(act_t* tile, int64_t layer, int group, int64_t begin, int64_t count,
                 const Weights& weights, Device& device) const;

  const Architecture arch_;
  const std::array<GroupShape, kGroups> groups_;
  const bool resident_;
  std::array<int64_t, kGroups> row_steps_{};
  std::array<int64_t, kGroups> column_steps_{};
  Arena arena_;
  std::vector<std::array<act_t*, kGroups>> layers_;  // resident
  act_t* shared_ = nullptr;                          // not resident
};

}  // namespace qlora
