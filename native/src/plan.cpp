#include "plan.h"

#include <algorithm>

#include "error.h"
#include "lora.h"
#include "tiles.h"
#include "trainer.h"
#include "weights.h"

namespace qlora {

namespace {

struct Plan {
  MemoryTable table;
  Capacity capacity;
  bool resident = false;
};

// Everything a run would allocate.
Plan make_plan(const Architecture& arch, const qlora_lora_config* lora_config,
               const qlora_train_config* train, const DeviceMemory& memory) {
  const Budget budget(arch.config.memory_budget);
  Plan plan;
  plan.table = Weights(arch).table();
  std::array<GroupShape, kGroups> groups = make_groups(arch, 0, 0);
  if (lora_config != nullptr) {
    const Lora lora(arch, *lora_config);
    groups = lora.groups();
    plan.table += lora.table();
    if (train != nullptr) plan.table += OptimizerMemory(arch, lora.count()).table();
  }
  const int64_t whole = whole_memory(budget, memory);
  const Tiles tiles(arch, groups, whole);
  plan.table += tiles.table();
  plan.resident = tiles.resident();
  if (train != nullptr) {
    plan.table += RopeTable(arch).growth(1, positions_of(arch, *train));
    const int64_t spare = spare_bytes(budget, memory) - plan.table.total();
    plan.capacity = choose_capacity(arch, groups, *train, spare, whole);
    plan.table += Activations(arch, groups, plan.capacity).table();
  }
  return plan;
}

// The largest max_tokens whose plan takes at most `limit` bytes, everything recomputed if need be;
// 0 when none does.
int64_t largest_tokens(const Architecture& arch, const qlora_lora_config* lora,
                       qlora_train_config train, const DeviceMemory& memory, int64_t limit) {
  if (train.recompute == QLORA_RECOMPUTE_AUTO) train.recompute = QLORA_RECOMPUTE_FULL;
  const qlora_train_config given = train;
  int64_t low = 0;
  int64_t high = given.max_tokens;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    train.max_tokens = static_cast<int32_t>(middle);
    train.max_sequences = std::min(given.max_sequences, train.max_tokens);
    train.max_targets =
        static_cast<int32_t>(std::max<int64_t>(1, given.max_targets * middle / given.max_tokens));
    if (make_plan(arch, lora, &train, memory).table.total() <= limit) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

}  // namespace

int64_t whole_memory(const Budget& budget, const DeviceMemory& memory) {
  const int64_t all = budget.limit() > 0 ? budget.limit() : memory.total_bytes;
  return all - memory.overhead_bytes;
}

int64_t spare_bytes(const Budget& budget, const DeviceMemory& memory) {
  return budget.capacity(memory) / 10 * 9 - memory.overhead_bytes - budget.used().total();
}

int64_t positions_of(const Architecture& arch, const qlora_train_config& config) {
  return std::min(config.max_tokens, arch.config.max_position);
}

Capacity choose_capacity(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const qlora_train_config& config, int64_t spare, int64_t whole_memory) {
  Capacity capacity;
  capacity.tokens = config.max_tokens;
  capacity.sequences = config.max_sequences;
  capacity.targets = config.max_targets;
  capacity.vocabulary = choose_vocabulary(arch, config.max_targets, whole_memory);
  capacity.training = true;
  const auto bytes_with = [&](int64_t kept, int64_t whole) {
    capacity.kept = kept;
    capacity.whole = whole;
    return Activations(arch, groups, capacity).table().total();
  };
  if (config.recompute == QLORA_RECOMPUTE_FULL || arch.L == 1) return capacity;
  const int64_t all = bytes_with(arch.L, arch.L);
  if (config.recompute == QLORA_RECOMPUTE_NONE || all <= spare) return capacity;
  // The products of as many layers as fit, then whole layers among those.
  const int64_t products = bytes_with(arch.L, 1);
  const int64_t least = bytes_with(1, 1);
  const int64_t one_more = (products - least) / (arch.L - 1);
  const int64_t whole_one = (all - products) / (arch.L - 1);
  const int64_t kept = 1 + std::max<int64_t>(0, spare - least) / one_more;
  capacity.kept = std::min(kept, arch.L);
  const int64_t left = spare - least - (capacity.kept - 1) * one_more;
  capacity.whole = std::min(1 + std::max<int64_t>(0, left) / whole_one, capacity.kept);
  return capacity;
}

void fill_report(qlora_memory_report& report, const MemoryTable& table, const Capacity* capacity,
                 bool resident, const DeviceMemory& memory) {
  report.kept_layers = capacity != nullptr ? static_cast<int32_t>(capacity->kept) : 0;
  report.whole_layers = capacity != nullptr ? static_cast<int32_t>(capacity->whole) : 0;
  report.resident = resident ? 1 : 0;
  report.embeddings = table[Memory::embeddings];
  report.base = table[Memory::base];
  report.constants = table[Memory::constants];
  report.lora = table[Memory::lora];
  report.optimizer = table[Memory::optimizer];
  report.activations = table[Memory::activations];
  report.workspace = table[Memory::workspace];
  report.kv_cache = table[Memory::kv_cache];
  report.host = table[Memory::host];
  report.context = memory.overhead_bytes;
  report.total = table.total() + memory.overhead_bytes;
  report.device_total = memory.total_bytes;
  report.device_free = memory.free_bytes;
}

void plan_training(const qlora_model_config& model, const qlora_lora_config* lora,
                   const qlora_train_config* train, qlora_memory_report& report) {
  const Architecture arch(model);
  if (train != nullptr) check_train_config(*train);
  if (train != nullptr && lora == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "a training plan needs a lora config as well");
  }
  DeviceOptions options;
  options.ordinal = model.device;
  options.threads = 1;
  const DeviceMemory memory = Device::expected_memory(options);
  const Plan plan = make_plan(arch, lora, train, memory);
  fill_report(report, plan.table, train != nullptr ? &plan.capacity : nullptr, plan.resident,
              memory);
  const int64_t limit = Budget(model.memory_budget).capacity(memory);
  if (report.total <= limit) return;
  std::string text = "the plan takes " + format_bytes(report.total) + ", but " +
                     format_bytes(limit) + (model.memory_budget > 0 ? " may be used" : " are free");
  if (train == nullptr) {
    text += "; choose 4-bit quantisation or a smaller model";
  } else {
    const int64_t tokens =
        largest_tokens(arch, lora, *train, memory, limit - memory.overhead_bytes);
    text += tokens > 0 ? "; the largest max_tokens that fits is " + std::to_string(tokens)
                       : "; not even one token fits: choose a smaller model or rank";
  }
  throw Error(QLORA_ERROR_OUT_OF_MEMORY, text);
}

}  // namespace qlora
