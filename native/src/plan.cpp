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
  int64_t kept_layers = 0;
};

// Everything a run would allocate when `limit` bytes may be used in all.
Plan make_plan(const Architecture& arch, const qlora_lora_config* lora_config,
               const qlora_train_config* train, const DeviceMemory& memory) {
  const Budget budget(arch.config.memory_budget);
  const int64_t limit =
      budget.limit() > 0 ? std::min(budget.limit(), memory.free_bytes) : memory.free_bytes;
  Plan plan;
  plan.table = Weights(arch).table();
  std::array<GroupShape, kGroups> groups = make_groups(arch, 0, 0);
  if (lora_config != nullptr) {
    const Lora lora(arch, *lora_config);
    groups = lora.groups();
    plan.table += lora.table();
    if (train != nullptr) plan.table += OptimizerMemory(lora.count()).table();
  }
  const int64_t all = budget.limit() > 0 ? budget.limit() : memory.total_bytes;
  plan.table += Tiles(arch, groups, Tiles::choose_resident(arch, groups, all)).table();
  if (train != nullptr) {
    const int64_t available = usable_bytes(limit - plan.table.total(), budget);
    const Capacity capacity = choose_capacity(arch, groups, *train, available);
    plan.table += Activations(arch, groups, capacity).table();
    plan.kept_layers = capacity.slots;
  }
  return plan;
}

// The largest max_tokens whose plan fits, everything recomputed if need be; 0 when none does.
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

int64_t usable_bytes(int64_t available, const Budget& budget) {
  return budget.limit() > 0 ? available : available / 10 * 9;
}

Capacity choose_capacity(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const qlora_train_config& config, int64_t available) {
  Capacity capacity;
  capacity.tokens = config.max_tokens;
  capacity.sequences = config.max_sequences;
  capacity.targets = config.max_targets;
  capacity.training = true;
  capacity.slots = config.recompute == QLORA_RECOMPUTE_FULL ? 1 : arch.L;
  if (config.recompute != QLORA_RECOMPUTE_AUTO) return capacity;
  const int64_t whole = Activations(arch, groups, capacity).table().total();
  if (whole <= available || arch.L == 1) return capacity;
  capacity.slots = 1;
  const int64_t least = Activations(arch, groups, capacity).table().total();
  const int64_t slot = (whole - least) / (arch.L - 1);
  capacity.slots = std::max<int64_t>(1, 1 + (available - least) / std::max<int64_t>(1, slot));
  capacity.slots = std::min(capacity.slots, arch.L);
  return capacity;
}

void fill_report(qlora_memory_report& report, const MemoryTable& table, int64_t kept_layers,
                 const DeviceMemory& memory) {
  report.kept_layers = static_cast<int32_t>(kept_layers);
  report.embeddings = table[Memory::embeddings];
  report.base = table[Memory::base];
  report.constants = table[Memory::constants];
  report.lora = table[Memory::lora];
  report.optimizer = table[Memory::optimizer];
  report.activations = table[Memory::activations];
  report.workspace = table[Memory::workspace];
  report.kv_cache = table[Memory::kv_cache];
  report.total = table.total();
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
  const std::unique_ptr<Device> device = Device::create(options);
  const DeviceMemory memory = device->memory();
  const int64_t limit = model.memory_budget > 0 ? std::min(model.memory_budget, memory.free_bytes)
                                                : memory.free_bytes;
  Plan plan = make_plan(arch, lora, train, memory);
  plan.table[Memory::workspace] += device->workspace_bytes();
  fill_report(report, plan.table, plan.kept_layers, memory);
  const int64_t total = plan.table.total();
  if (total <= limit) return;
  std::string text = "the plan takes " + format_bytes(total) + ", but " + format_bytes(limit) +
                     (model.memory_budget > 0 ? " may be used" : " are free") + "; ";
  if (train == nullptr) {
    text += "choose 4-bit quantisation or a smaller model";
  } else {
    const int64_t tokens =
        largest_tokens(arch, lora, *train, memory, limit - device->workspace_bytes());
    text += tokens > 0 ? "the largest max_tokens that fits is " + std::to_string(tokens)
                       : "not even one token fits: choose a smaller model or rank";
  }
  throw Error(QLORA_ERROR_OUT_OF_MEMORY, text);
}

}  // namespace qlora
