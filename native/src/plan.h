// How much a training run takes, by the same sizing code that allocates it.
#pragma once

#include "activations.h"
#include "architecture.h"
#include "arena.h"

namespace qlora {

// The capacity of a trainer; recompute AUTO keeps as many layers as fit available bytes.
Capacity choose_capacity(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const qlora_train_config& config, int64_t available);

// What of the bytes left is for AUTO to fill: all of a budget the caller set, nine tenths of what
// the device has free.
int64_t usable_bytes(int64_t available, const Budget& budget);

void fill_report(qlora_memory_report& report, const MemoryTable& table, int64_t kept_layers,
                 const DeviceMemory& memory);

// See qlora_plan_training. Throws Error(out of memory) after filling the report.
void plan_training(const qlora_model_config& model, const qlora_lora_config* lora,
                   const qlora_train_config* train, qlora_memory_report& report);

}  // namespace qlora
