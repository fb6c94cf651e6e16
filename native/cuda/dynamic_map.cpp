// The signed dynamic map of bitsandbytes: for exponents 10⁻⁶ … 1 the midpoints of 2, 3, 5, … 65
// points of linspace(.1, 1), both signs; then 0 and 1; sorted.
#include <algorithm>
#include <cmath>
#include <vector>

#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

// linspace(.1, 1, points) in fp32 with fused multiply-adds, counted from the nearer end, as torch.
std::vector<float> fractions(int points) {
  const float step = (1.0f - 0.1f) / static_cast<float>(points - 1);
  std::vector<float> values;
  for (int i = 0; i < points; ++i) {
    values.push_back(i < points / 2 ? std::fma(step, static_cast<float>(i), 0.1f)
                                    : std::fma(-step, static_cast<float>(points - 1 - i), 1.0f));
  }
  return values;
}

DynamicMap make_dynamic_map() {
  const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  DynamicMap map{};
  int count = 0;
  map.value[count++] = 0.0f;
  map.value[count++] = 1.0f;
  for (int exponent = 0; exponent < 7; ++exponent) {
    const std::vector<float> bounds = fractions((1 << exponent) + 1);
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const float value = powers[exponent] * ((bounds[i] + bounds[i + 1]) / 2.0f);
      map.value[count++] = value;
      map.value[count++] = -value;
    }
  }
  std::sort(map.value, map.value + count);
  return map;
}

}  // namespace

const DynamicMap& dynamic_map() {
  static const DynamicMap map = make_dynamic_map();
  return map;
}

}  // namespace cuda
}  // namespace qlora
