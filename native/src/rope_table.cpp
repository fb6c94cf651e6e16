#include "rope_table.h"

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

}  // namespace qlora
