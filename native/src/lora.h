// The LoRA adapter: master weights in fp32 in one block, laid out so that the A of linears that
// share an input are one matrix. Gradients and AdamW moments use the same layout.
//   per layer, per group: A [R, in] (the parts' A [r, in] stacked), then each part's B [out, r].
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "architecture.h"
#include "arena.h"
#include "ops.h"

namespace qlora {

class Lora {
 public:
  // Sizes only; nothing is allocated.
  Lora(const Architecture& arch, const qlora_lora_config& config);

  MemoryTable table() const { return arena_.table(); }
  void allocate(Device& device, Budget& budget);
  // A: kaiming_uniform(√5), that is uniform within ±1/√in; B: zero.
  void initialize(Device& device);

  void read(const std::string& name, float* values_host, int64_t count, Device& device) const;
  void write(const std::string& name, const float* values_host, int64_t count, Device& device);
  // Reads a tensor of the layout out of another block: gradients.
  void read_from(const float* block, const std::string& name, float* values_host, int64_t count,
                 Device& device) const;

  // Refreshes the copies below from the master weights.
  void sync(Device& device);
  // A [R, in] in the activations' type.
  const act_t* a(int64_t layer, int group) const;
  // s·B_p [out_p, r_p] in the activations' type.
  const act_t* scaled_b(int64_t layer, int group, int part) const;

  // Offsets in the block.
  int64_t a_offset(int64_t layer, int group) const;
  int64_t b_offset(int64_t layer, int group, int part) const;

  float* parameters() const { return parameters_; }
  int64_t count() const { return layer_count_ * arch_.L; }
  float scale() const { return scale_; }
  const qlora_lora_config& config() const { return config_; }
  const std::array<GroupShape, kGroups>& groups() const { return groups_; }

 private:
  struct Slice {
    int64_t offset, count;
  };
  Slice find(const std::string& name, int64_t count) const;
  void list_windows();

  const Architecture arch_;
  const qlora_lora_config config_;
  std::array<GroupShape, kGroups> groups_;
  float scale_ = 1;
  int64_t layer_count_ = 0;                      // parameters of one layer
  std::array<int64_t, kGroups> group_offset_{};  // of A inside a layer
  std::unordered_map<std::string, Slice> index_;
  Arena arena_;
  float* parameters_ = nullptr;           // (count)
  act_t* copies_ = nullptr;               // (count): A as it is, B scaled
  std::vector<ops::CastWindow> windows_;  // parameters_ → copies_
};

}  // namespace qlora
