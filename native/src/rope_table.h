// The rotation angles of rotary position embeddings, with Llama 3's frequency scaling.
//   inv_i = theta^(−2i/D), i < D/2;  cos, sin of position · inv_i.
// llama3: λ = 2π/inv. λ > original/low: inv/factor; λ < original/high: inv; between them
// s = (original/λ − low)/(high − low), inv = (1−s)·inv/factor + s·inv.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "architecture.h"
#include "arena.h"

namespace qlora {

// (D/2) in fp32, as transformers keeps them.
std::vector<float> rope_inverse_frequencies(const Architecture& arch);

// cos, sin: [count, D/2] for positions [first, first + count). Angles are rounded to fp32 first, as
// transformers does.
void rope_table(std::vector<float>& cos, std::vector<float>& sin,
                const std::vector<float>& inverse_frequencies, int64_t first, int64_t count);

// The table on the device, for the positions in use: a model of 131,072 positions would hold 67 MB
// for them, most runs need 2. It grows when more are asked for; a smaller one stays where it is,
// for ops that were recorded with its address.
class RopeTable {
 public:
  explicit RopeTable(const Architecture& arch);

  // What growing from `from` to `to` positions allocates.
  MemoryTable growth(int64_t from, int64_t to) const;
  // Makes positions 0 … count − 1 available.
  void require(int64_t count, Device& device, Budget& budget);

  const float* cos() const { return tables_.back()->cos; }  // [positions, D/2]
  const float* sin() const { return tables_.back()->sin; }

 private:
  struct Table {
    Arena arena;
    float* cos = nullptr;
    float* sin = nullptr;
  };
  // Positions of the table that serves `count` of them.
  int64_t size_for(int64_t count) const;
  std::unique_ptr<Table> sized(int64_t positions) const;

  const Architecture arch_;
  int64_t positions_ = 0;
  std::vector<std::unique_ptr<Table>> tables_;
};

}  // namespace qlora
