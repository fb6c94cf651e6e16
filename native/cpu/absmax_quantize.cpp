// absmax_quantize: double quantisation. offset = mean(absmax); per block of 256 values
// absmax2 = max |absmax − offset|, code = the entry of the dynamic map nearest to
// (absmax − offset) / absmax2, found as bitsandbytes finds it on a CPU: the quotient is rounded to
// one of 65,536 evenly spaced points of [−1, 1] first.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_device.h"
#include "nf4.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int kPoints = 65536;

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

// For exponents 10⁻⁶ … 1: the midpoints of 2, 3, 5, … 65 fractions, both signs; then 0 and 1.
std::vector<float> make_dynamic_map() {
  const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
  std::vector<float> map = {0.0f, 1.0f};
  for (int exponent = 0; exponent < 7; ++exponent) {
    const std::vector<float> bounds = fractions((1 << exponent) + 1);
    for (size_t i = 0; i + 1 < bounds.size(); ++i) {
      const float value = powers[exponent] * ((bounds[i] + bounds[i + 1]) / 2.0f);
      map.push_back(value);
      map.push_back(-value);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

// Code of each of the evenly spaced points; the lower code on ties.
std::vector<uint8_t> make_codes() {
  const float* const map = dynamic_map();
  std::vector<uint8_t> codes(kPoints);
  int code = 0;
  for (int point = 0; point < kPoints; ++point) {
    const float x = -1.0f + 2.0f * (static_cast<float>(point) / static_cast<float>(kPoints - 1));
    while (code < 255 && std::fabs(map[code + 1] - x) < std::fabs(x - map[code])) ++code;
    codes[size_t(point)] = static_cast<uint8_t>(code);
  }
  return codes;
}

uint8_t encode(float x) {
  static const std::vector<uint8_t> codes = make_codes();
  const float point = std::floor((x + 1.0f) * 0.5f * static_cast<float>(kPoints - 1) + 0.5f);
  if (!(point > 0.0f)) return codes[0];
  return codes[size_t(std::min(point, static_cast<float>(kPoints - 1)))];
}

}  // namespace

const float* dynamic_map() {
  static const std::vector<float> map = make_dynamic_map();
  return map.data();
}

}  // namespace cpu

void ops::absmax_quantize(uint8_t* codes, float* absmax2, float* offset_host, const float* absmax,
                          int64_t count, Device&) {
  double sum = 0.0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(absmax[i]);
  const float offset = static_cast<float>(sum / static_cast<double>(count > 0 ? count : 1));
  *offset_host = offset;

  for (int64_t begin = 0; begin < count; begin += cpu::kAbsmaxBlock) {
    const int64_t end = std::min(begin + cpu::kAbsmaxBlock, count);
    float largest = 0.0f;
    for (int64_t i = begin; i < end; ++i) {
      largest = std::max(largest, std::fabs(absmax[i] - offset));
    }
    absmax2[begin / cpu::kAbsmaxBlock] = largest;
    for (int64_t i = begin; i < end; ++i) {
      codes[i] = cpu::encode((absmax[i] - offset) / largest);  // 0 / 0 takes code 0
    }
  }
}

}  // namespace qlora
