#include "bnb_state.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "error.h"

namespace qlora {

namespace {

// The text of a key's value in a flat JSON object, up to the comma or bracket that ends it.
std::string json_value(const std::string& json, const std::string& key) {
  const std::string quoted = "\"" + key + "\"";
  size_t at = json.find(quoted);
  if (at == std::string::npos) return "";
  at = json.find(':', at + quoted.size());
  if (at == std::string::npos) return "";
  ++at;
  while (at < json.size() && std::isspace(static_cast<unsigned char>(json[at])) != 0) ++at;
  const bool list = at < json.size() && json[at] == '[';
  size_t end = list ? json.find(']', at) : json.find_first_of(",}", at);
  if (end == std::string::npos) return "";
  if (list) ++end;
  std::string value = json.substr(at, end - at);
  value.erase(std::remove_if(value.begin(), value.end(),
                             [](unsigned char c) { return std::isspace(c) != 0; }),
              value.end());
  return value;
}

void expect(const std::string& tensor, const std::string& json, const char* key,
            const std::string& expected) {
  const std::string found = json_value(json, key);
  if (found == expected) return;
  throw Error(QLORA_ERROR_UNSUPPORTED, tensor + ": " + key + " must be " + expected + ", found " +
                                           (found.empty() ? "nothing" : found) +
                                           "; save the checkpoint as NF4 with blocks of 64");
}

void check_map(const std::string& tensor, const float* values,
               const std::vector<double>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::abs(static_cast<double>(values[i]) - expected[i]) <= 1e-5) continue;
    throw Error(QLORA_ERROR_UNSUPPORTED, tensor + ": entry " + std::to_string(i) + " must be " +
                                             std::to_string(expected[i]) + ", found " +
                                             std::to_string(values[i]) +
                                             "; only NF4 with the signed dynamic map is supported");
  }
}

}  // namespace

float read_bnb_state(const std::string& tensor, const std::string& json, int64_t out, int64_t in,
                     bool double_quantized) {
  expect(tensor, json, "quant_type", "\"nf4\"");
  expect(tensor, json, "blocksize", "64");
  expect(tensor, json, "shape", "[" + std::to_string(out) + "," + std::to_string(in) + "]");
  if (!double_quantized) return 0;
  expect(tensor, json, "nested_blocksize", "256");
  const std::string text = json_value(json, "nested_offset");
  char* end = nullptr;
  const double offset = std::strtod(text.c_str(), &end);
  if (text.empty() || end == text.c_str() || !std::isfinite(offset)) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, tensor + ": nested_offset must be a number, found " +
                                                  (text.empty() ? "nothing" : text));
  }
  return static_cast<float>(offset);
}

void check_nf4_map(const std::string& tensor, const float* values) {
  check_map(tensor, values,
            {-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
             -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
             0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
             0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0});
}

void check_dynamic_map(const std::string& tensor, const float* values) {
  std::vector<double> map = {0.0, 1.0};
  for (int i = 0; i < 7; ++i) {
    const int intervals = 1 << i;  // linspace(.1, 1, intervals + 1), its midpoints
    for (int j = 0; j < intervals; ++j) {
      const double midpoint = 0.1 + 0.9 * (j + 0.5) / intervals;
      const double value = midpoint * std::pow(10.0, i - 6);
      map.push_back(value);
      map.push_back(-value);
    }
  }
  std::sort(map.begin(), map.end());
  check_map(tensor, values, map);
}

}  // namespace qlora
