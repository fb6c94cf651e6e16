#include "rope_table.h"

#include <algorithm>
#include <cmath>

namespace qlora {

std::vector<float> rope_inverse_frequencies(const Architecture& arch) {
  constexpr double kPi = 3.14159265358979323846;
  const qlora_model_config& c = arch.config;
  std::vector<float> frequencies;
  for (int64_t i = 0; i < arch.D / 2; ++i) {
    const double exponent = static_cast<double>(2 * i) / static_cast<double>(arch.D);
    double inverse = static_cast<float>(1.0 / std::pow(c.rope_theta, exponent));
    if (c.rope_scaling == QLORA_ROPE_LLAMA3) {
      const double original = c.rope_original_max_position;
      const double wavelength = 2 * kPi / inverse;
      if (wavelength > original / c.rope_low_freq_factor) {
        inverse /= c.rope_factor;
      } else if (wavelength >= original / c.rope_high_freq_factor) {
        const double s = (original / wavelength - c.rope_low_freq_factor) /
                         (c.rope_high_freq_factor - c.rope_low_freq_factor);
        inverse = (1 - s) * inverse / c.rope_factor + s * inverse;
      }
    }
    frequencies.push_back(static_cast<float>(inverse));
  }
  return frequencies;
}

void rope_table(std::vector<float>& cos, std::vector<float>& sin,
                const std::vector<float>& inverse_frequencies, int64_t first, int64_t count) {
  cos.clear();
  sin.clear();
  for (int64_t position = first; position < first + count; ++position) {
    for (const float inverse : inverse_frequencies) {
      const float angle = static_cast<float>(position) * inverse;
      cos.push_back(static_cast<float>(std::cos(static_cast<double>(angle))));
      sin.push_back(static_cast<float>(std::sin(static_cast<double>(angle))));
    }
  }
}

RopeTable::RopeTable(const Architecture& arch) : arch_(arch) {}

int64_t RopeTable::size_for(int64_t count) const {
  int64_t size = 4096;
  while (size < count) size *= 2;
  return std::min<int64_t>(size, arch_.config.max_position);
}

std::unique_ptr<RopeTable::Table> RopeTable::sized(int64_t positions) const {
  auto table = std::make_unique<Table>();
  table->arena.add(table->cos, Memory::constants, positions * (arch_.D / 2));
  table->arena.add(table->sin, Memory::constants, positions * (arch_.D / 2));
  return table;
}

MemoryTable RopeTable::growth(int64_t from, int64_t to) const {
  const int64_t old = from > 0 ? size_for(from) : 0;
  const int64_t positions = size_for(to);
  return positions > old ? sized(positions)->arena.table() : MemoryTable();
}

void RopeTable::require(int64_t count, Device& device, Budget& budget) {
  const int64_t positions = size_for(count);
  if (positions <= positions_) return;
  std::unique_ptr<Table> table = sized(positions);
  table->arena.allocate(device, budget, "the rotation angles of longer sequences");
  constexpr int64_t kRows = 4096;
  const int64_t half = arch_.D / 2;
  const std::vector<float> frequencies = rope_inverse_frequencies(arch_);
  std::vector<float> cos;
  std::vector<float> sin;
  for (int64_t first = 0; first < positions; first += kRows) {
    rope_table(cos, sin, frequencies, first, std::min(kRows, positions - first));
    device.copy_to_device(table->cos + first * half, cos.data(), cos.size() * sizeof(float));
    device.copy_to_device(table->sin + first * half, sin.data(), sin.size() * sizeof(float));
    device.synchronize();
  }
  tables_.push_back(std::move(table));
  positions_ = positions;
}

}  // namespace qlora
