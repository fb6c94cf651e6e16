// How much a training run takes, by the same sizing code that allocates it, and what of the memory
// is spent on speed.
#pragma once

#include "activations.h"
#include "architecture.h"
#include "arena.h"

namespace qlora {

// The memory that shares are taken of: the budget the caller set, else all of the device's, less
// the device's overhead. memory: as it is expected before a Device has worked, so that a plan and
// its run agree.
int64_t whole_memory(const Budget& budget, const DeviceMemory& memory);

// What choose_capacity may fill: nine tenths of what can be had in all, less what is in use. The
// last tenth is for what nobody counts: other programs, code loaded late, fragments.
int64_t spare_bytes(const Budget& budget, const DeviceMemory& memory);

// The capacity of a trainer; recompute AUTO keeps as much of the layers as fits in spare bytes.
Capacity choose_capacity(const Architecture& arch, const std::array<GroupShape, kGroups>& groups,
                         const qlora_train_config& config, int64_t spare, int64_t whole_memory);

// Positions a micro-batch may use.
int64_t positions_of(const Architecture& arch, const qlora_train_config& config);

// capacity: of the trainer, or null.
void fill_report(qlora_memory_report& report, const MemoryTable& table, const Capacity* capacity,
                 bool resident, const DeviceMemory& memory);

// See qlora_plan_training. Throws Error(out of memory) after filling the report.
void plan_training(const qlora_model_config& model, const qlora_lora_config* lora,
                   const qlora_train_config* train, qlora_memory_report& report);

}  // namespace qlora
