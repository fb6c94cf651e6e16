#include "architecture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "error.h"

namespace qlora {

namespace {

// Of leading dimensions, in elements: rows begin on the 128-byte lines that GPUs move.
constexpr int64_t kPadding = 64;

template <class T>
[[noreturn]] void refuse(const char* field, T found, const std::string& expected) {
  std::ostringstream text;
  text << field << " must be " << expected << ", found " << found;
  throw Error(QLORA_ERROR_INVALID_ARGUMENT, text.str());
}

void check_between(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    refuse(field, value, "between " + std::to_string(low) + " and " + std::to_string(high));
  }
}

// Positive and finite.
void check_positive(const char* field, double value) {
  if (!(value > 0) || !std::isfinite(value)) refuse(field, value, "a positive number");
}

void check_rope(const qlora_model_config& c) {
  check_positive("rope_theta", c.rope_theta);
  check_between("rope_scaling", c.rope_scaling, QLORA_ROPE_NONE, QLORA_ROPE_LLAMA3);
  if (c.rope_scaling != QLORA_ROPE_LLAMA3) return;
  check_positive("rope_factor", c.rope_factor);
  check_positive("rope_low_freq_factor", c.rope_low_freq_factor);
  check_positive("rope_high_freq_factor", c.rope_high_freq_factor);
  if (!(c.rope_high_freq_factor > c.rope_low_freq_factor)) {
    refuse("rope_high_freq_factor", c.rope_high_freq_factor, "above rope_low_freq_factor");
  }
  check_between("rope_original_max_position", c.rope_original_max_position, 1, 1 << 30);
}

void check_model_config(const qlora_model_config& c) {
  constexpr int64_t kMaxSize = 1 << 24;
  check_struct_size("qlora_model_config", c.struct_size, sizeof(qlora_model_config));
  check_between("hidden_size", c.hidden_size, 1, kMaxSize);
  check_between("intermediate_size", c.intermediate_size, 1, kMaxSize);
  check_between("num_layers", c.num_layers, 1, 4096);
  check_between("num_heads", c.num_heads, 1, 4096);
  check_between("num_kv_heads", c.num_kv_heads, 1, c.num_heads);
  if (c.num_heads % c.num_kv_heads != 0) {
    refuse("num_kv_heads", c.num_kv_heads,
           "a divisor of num_heads (" + std::to_string(c.num_heads) + ")");
  }
  check_between("head_dim", c.head_dim, 2, 1024);
  if (c.head_dim % 2 != 0) refuse("head_dim", c.head_dim, "even");
  check_between("vocab_size", c.vocab_size, 1, 1 << 28);
  check_between("max_position", c.max_position, 1, 1 << 28);
  check_between("tie_word_embeddings", c.tie_word_embeddings, 0, 1);
  check_between("qkv_bias", c.qkv_bias, 0, 1);
  check_between("qk_norm", c.qk_norm, 0, 1);
  check_positive("rms_norm_eps", c.rms_norm_eps);
  check_between("quantization", c.quantization, QLORA_QUANTIZATION_NONE,
                QLORA_QUANTIZATION_NF4_DOUBLE);
  check_between("threads", c.threads, 0, 4096);
  check_between("device", c.device, 0, 1 << 16);
  check_between("host_memory", c.host_memory, 0,
                QLORA_HOST_EMBEDDINGS | QLORA_HOST_HEAD | QLORA_HOST_OPTIMIZER);
  check_between("memory_budget", c.memory_budget, 0, std::numeric_limits<int64_t>::max());
  check_rope(c);
}

}  // namespace

void check_struct_size(const char* name, int64_t found, int64_t expected) {
  if (found == expected) return;
  refuse((std::string(name) + ".struct_size").c_str(), found,
         std::to_string(expected) + " (fill the struct with its _default function)");
}

const char* module_name(int module) {
  static const char* const names[kModules] = {
      "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
      "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  return names[module];
}

Architecture::Architecture(const qlora_model_config& c)
    : config(c),
      H(c.hidden_size),
      F(c.intermediate_size),
      L(c.num_layers),
      Q(c.num_heads),
      G(c.num_kv_heads),
      D(c.head_dim),
      V(c.vocab_size) {
  check_model_config(c);
}

int64_t Architecture::module_out(int module) const {
  switch (module) {
    case kQ:
      return Q * D;
    case kK:
    case kV:
      return G * D;
    case kGate:
    case kUp:
      return F;
    default:
      return H;
  }
}

int64_t Architecture::module_in(int module) const {
  switch (module) {
    case kO:
      return Q * D;
    case kDown:
      return F;
    default:
      return H;
  }
}

int64_t padded(int64_t columns) { return (columns + kPadding - 1) / kPadding * kPadding; }

std::array<GroupShape, kGroups> make_groups(const Architecture& arch, int64_t rank,
                                            int target_modules) {
  static const int first_module[kGroups + 1] = {kQ, kO, kGate, kDown, kModules};
  std::array<GroupShape, kGroups> groups;
  for (int g = 0; g < kGroups; ++g) {
    GroupShape& group = groups[static_cast<size_t>(g)];
    group.in = arch.module_in(first_module[g]);
    for (int module = first_module[g]; module < first_module[g + 1]; ++module) {
      GroupPart& part = group.parts[static_cast<size_t>(group.num_parts++)];
      part.module = module;
      part.out = arch.module_out(module);
      part.out_offset = group.out;
      part.rank = (target_modules >> module & 1) != 0 ? rank : 0;
      part.rank_offset = group.rank;
      group.out += part.out;
      group.rank += part.rank;
    }
    group.ld = padded(group.in + group.rank);
  }
  return groups;
}

int64_t max_group_ld(const std::array<GroupShape, kGroups>& groups) {
  int64_t widest = 0;
  for (const GroupShape& group : groups) widest = std::max(widest, group.ld);
  return widest;
}

void check_lora_config(const qlora_lora_config& c) {
  check_struct_size("qlora_lora_config", c.struct_size, sizeof(qlora_lora_config));
  check_between("rank", c.rank, 1, 4096);
  check_positive("alpha", c.alpha);
  if (!(c.dropout >= 0 && c.dropout < 1)) refuse("dropout", c.dropout, "at least 0 and below 1");
  check_between("target_modules", c.target_modules, 1, (1 << kModules) - 1);
  check_between("use_rslora", c.use_rslora, 0, 1);
}

void check_train_config(const qlora_train_config& c) {
  check_struct_size("qlora_train_config", c.struct_size, sizeof(qlora_train_config));
  check_between("max_tokens", c.max_tokens, 1, 1 << 24);
  check_between("max_sequences", c.max_sequences, 1, c.max_tokens);
  check_between("max_targets", c.max_targets, 1, 1 << 26);
  check_between("recompute", c.recompute, QLORA_RECOMPUTE_NONE, QLORA_RECOMPUTE_AUTO);
  if (!(c.beta1 >= 0 && c.beta1 < 1)) refuse("beta1", c.beta1, "at least 0 and below 1");
  if (!(c.beta2 >= 0 && c.beta2 < 1)) refuse("beta2", c.beta2, "at least 0 and below 1");
  check_positive("epsilon", c.epsilon);
  if (!(c.weight_decay >= 0) || !std::isfinite(c.weight_decay)) {
    refuse("weight_decay", c.weight_decay, "0 or a positive number");
  }
  if (!(c.max_grad_norm >= 0) || !std::isfinite(c.max_grad_norm)) {
    refuse("max_grad_norm", c.max_grad_norm, "0 (no clipping) or a positive number");
  }
}

}  // namespace qlora
