// The model's shape: sizes, the seven linears, and the four groups of linears that share an input.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "qlora.h"

namespace qlora {

// The seven linears of a layer, in the order of the qlora_module bits.
enum Module { kQ, kK, kV, kO, kGate, kUp, kDown };
constexpr int kModules = 7;

// Linears that share an input are one product: q, k, v; o; gate, up; down.
enum Group { kGroupQkv, kGroupO, kGroupGateUp, kGroupDown };
constexpr int kGroups = 4;

// "self_attn.q_proj" … "mlp.down_proj"
const char* module_name(int module);

// One linear's place inside its group.
struct GroupPart {
  int module = 0;
  int64_t out = 0, out_offset = 0;    // rows of the stacked weight
  int64_t rank = 0, rank_offset = 0;  // columns of the extension; rank 0: no LoRA on this linear
};

// The stacked weight [out, in], extended by the LoRA ranks: [out, in + rank], rows ld apart.
struct GroupShape {
  int64_t in = 0, out = 0, rank = 0;
  int64_t ld = 0;  // in + rank, padded
  int num_parts = 0;
  std::array<GroupPart, 3> parts{};
};

struct Architecture {
  qlora_model_config config{};
  // H hidden, F intermediate, L layers, Q query heads, G key/value heads, D head dim, V vocabulary
  int64_t H = 0, F = 0, L = 0, Q = 0, G = 0, D = 0, V = 0;

  // Throws Error(invalid argument) naming the field.
  explicit Architecture(const qlora_model_config& config);

  int64_t q_columns() const { return Q * D; }
  int64_t qkv_columns() const { return (Q + 2 * G) * D; }
  int64_t module_out(int module) const;
  int64_t module_in(int module) const;
  bool tied() const { return config.tie_word_embeddings != 0; }
  // A tied model has one table, which the head needs where the head is.
  bool embeddings_on_host() const {
    return on_host(tied() ? QLORA_HOST_HEAD : QLORA_HOST_EMBEDDINGS);
  }
  bool head_on_host() const { return on_host(QLORA_HOST_HEAD); }
  bool on_host(int bit) const { return (config.host_memory & bit) != 0; }
  float eps() const { return static_cast<float>(config.rms_norm_eps); }
};

// A leading dimension with room for so many columns.
int64_t padded(int64_t columns);
// rank 0: without LoRA. target_modules: qlora_module bits.
std::array<GroupShape, kGroups> make_groups(const Architecture& arch, int64_t rank,
                                            int target_modules);

// Widest extended input of a group.
int64_t max_group_ld(const std::array<GroupShape, kGroups>& groups);

// Throws Error(invalid argument) naming the field.
void check_lora_config(const qlora_lora_config& config);
void check_train_config(const qlora_train_config& config);

// Throws Error(invalid argument) when a struct's first field is not its size.
void check_struct_size(const char* name, int64_t found, int64_t expected);

}  // namespace qlora
