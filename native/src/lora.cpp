#include "lora.h"

#include <cmath>

#include "error.h"

namespace qlora {

Lora::Lora(const Architecture& arch, const qlora_lora_config& config)
    : arch_(arch), config_(config) {
  check_lora_config(config);
  groups_ = make_groups(arch_, config_.rank, config_.target_modules);
  const double rank = config_.rank;
  scale_ = static_cast<float>(config_.alpha / (config_.use_rslora != 0 ? std::sqrt(rank) : rank));
  for (int g = 0; g < kGroups; ++g) {
    const GroupShape& group = groups_[static_cast<size_t>(g)];
    group_offset_[static_cast<size_t>(g)] = layer_count_;
    layer_count_ += group.rank * group.in;
    for (int p = 0; p < group.num_parts; ++p) {
      const GroupPart& part = group.parts[static_cast<size_t>(p)];
      layer_count_ += part.out * part.rank;
    }
  }
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      const GroupShape& group = groups_[static_cast<size_t>(g)];
      for (int p = 0; p < group.num_parts; ++p) {
        const GroupPart& part = group.parts[static_cast<size_t>(p)];
        if (part.rank == 0) continue;
        const std::string name =
            "model.layers." + std::to_string(layer) + "." + module_name(part.module);
        index_[name + ".lora_A.weight"] = {a_offset(layer, g) + part.rank_offset * group.in,
                                           part.rank * group.in};
        index_[name + ".lora_B.weight"] = {b_offset(layer, g, p), part.out * part.rank};
      }
    }
  }
  arena_.add(parameters_, Memory::lora, count());
  arena_.add(copies_, Memory::lora, count());
}

int64_t Lora::a_offset(int64_t layer, int group) const {
  return layer * layer_count_ + group_offset_[static_cast<size_t>(group)];
}

int64_t Lora::b_offset(int64_t layer, int group, int part) const {
  const GroupShape& shape = groups_[static_cast<size_t>(group)];
  int64_t offset = a_offset(layer, group) + shape.rank * shape.in;
  for (int p = 0; p < part; ++p) {
    offset += shape.parts[static_cast<size_t>(p)].out * shape.parts[static_cast<size_t>(p)].rank;
  }
  return offset;
}

void Lora::allocate(Device& device, Budget& budget) {
  arena_.allocate(device, budget, "the LoRA adapter");
  list_windows();
}

void Lora::initialize(Device& device) {
  device.fill_zero(parameters_, static_cast<size_t>(count()) * sizeof(float));
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      const GroupShape& group = groups_[static_cast<size_t>(g)];
      const double bound = 1.0 / std::sqrt(static_cast<double>(group.in));
      for (int p = 0; p < group.num_parts; ++p) {
        const GroupPart& part = group.parts[static_cast<size_t>(p)];
        if (part.rank == 0) continue;
        const uint64_t stream = static_cast<uint64_t>(layer * kModules + part.module);
        ops::random_uniform(parameters_ + a_offset(layer, g) + part.rank_offset * group.in,
                            part.rank * group.in, config_.seed, stream, bound, device);
      }
    }
  }
  device.synchronize();
}

Lora::Slice Lora::find(const std::string& name, int64_t count) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "unknown adapter tensor " + name +
                                                  ": expected a name such as " +
                                                  (index_.empty() ? "" : index_.begin()->first) +
                                                  " of a linear the adapter targets");
  }
  if (count != found->second.count) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                name + " has " + std::to_string(found->second.count) + " values, found " +
                    std::to_string(count) + "; check the adapter's rank and the model's shape");
  }
  return found->second;
}

void Lora::read_from(const float* block, const std::string& name, float* values_host, int64_t count,
                     Device& device) const {
  const Slice slice = find(name, count);
  device.copy_to_host(values_host, block + slice.offset,
                      static_cast<size_t>(count) * sizeof(float));
}

void Lora::read(const std::string& name, float* values_host, int64_t count, Device& device) const {
  read_from(parameters_, name, values_host, count, device);
}

void Lora::write(const std::string& name, const float* values_host, int64_t count, Device& device) {
  const Slice slice = find(name, count);
  device.copy_to_device(parameters_ + slice.offset, values_host,
                        static_cast<size_t>(count) * sizeof(float));
  device.synchronize();
}

void Lora::list_windows() {
  windows_.clear();
  const auto add = [&](int64_t offset, int64_t rows, int64_t cols, float scale) {
    const int32_t width = static_cast<int32_t>(cols);
    windows_.push_back(
        {copies_ + offset, cols, parameters_ + offset, rows, width, 0, width, scale});
  };
  for (int64_t layer = 0; layer < arch_.L; ++layer) {
    for (int g = 0; g < kGroups; ++g) {
      const GroupShape& group = groups_[static_cast<size_t>(g)];
      if (group.rank == 0) continue;
      add(a_offset(layer, g), group.rank, group.in, 1.0f);
      for (int p = 0; p < group.num_parts; ++p) {
        const GroupPart& part = group.parts[static_cast<size_t>(p)];
        if (part.rank > 0) add(b_offset(layer, g, p), part.out, part.rank, scale_);
      }
    }
  }
}

void Lora::sync(Device& device) {
  ops::scale_cast_windows(windows_.data(), static_cast<int64_t>(windows_.size()), device);
}

const act_t* Lora::a(int64_t layer, int group) const { return copies_ + a_offset(layer, group); }

const act_t* Lora::scaled_b(int64_t layer, int group, int part) const {
  return copies_ + b_offset(layer, group, part);
}

}  // namespace qlora
