#include "bnb_state.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "error.h"

namespace qlora {

namespace {

// A flat JSON object of texts, numbers and lists of whole numbers, read strictly: one object and
// nothing after it, no key twice. Values keep their JSON text, without white space.
class FlatJson {
 public:
  FlatJson(const std::string& tensor, const std::string& json) : tensor_(tensor), json_(json) {
    take('{');
    if (!next_is('}')) {
      do {
        const std::string key = text();
        take(':');
        const std::string found = value();
        if (!values_.emplace(key, found).second) refuse("each key once, found " + key + " twice");
      } while (next_is(','));
      take('}');
    }
    skip_space();
    if (at_ != json_.size()) refuse("nothing after the object");
  }

  const std::map<std::string, std::string>& values() const { return values_; }

 private:
  [[noreturn]] void refuse(const std::string& expected) const {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                tensor_ + ": quant_state must be bitsandbytes' flat JSON: expected " + expected +
                    ", at byte " + std::to_string(at_) + " of " + std::to_string(json_.size()) +
                    "; fetch the checkpoint again");
  }
  void skip_space() {
    while (at_ < json_.size() && std::strchr(" \t\r\n", json_[at_]) != nullptr &&
           json_[at_] != '\0') {
      ++at_;
    }
  }
  // Whether the next character is this one; takes it, but for a closing bracket.
  bool next_is(char wanted) {
    skip_space();
    if (at_ == json_.size() || json_[at_] != wanted) return false;
    if (wanted == ',') ++at_;
    return true;
  }
  void take(char wanted) {
    skip_space();
    if (at_ == json_.size() || json_[at_] != wanted) refuse(std::string(1, wanted));
    ++at_;
  }
  // Without escapes: no key and no value that is accepted has any.
  std::string text() {
    take('"');
    const size_t begin = at_;
    while (at_ < json_.size() && json_[at_] != '"' && json_[at_] != '\\' && json_[at_] >= ' ')
      ++at_;
    if (at_ == json_.size() || json_[at_] != '"') refuse("a plain text");
    return json_.substr(begin, at_++ - begin);
  }
  std::string number() {
    skip_space();
    const size_t begin = at_;
    while (at_ < json_.size() && std::strchr("+-.0123456789Ee", json_[at_]) != nullptr &&
           json_[at_] != '\0') {
      ++at_;
    }
    if (at_ == begin) refuse("a text, a number or a list of numbers");
    return json_.substr(begin, at_ - begin);
  }
  std::string value() {
    skip_space();
    if (at_ < json_.size() && json_[at_] == '"') return '"' + text() + '"';
    if (at_ == json_.size() || json_[at_] != '[') return number();
    take('[');
    std::string list = "[";
    if (!next_is(']')) {
      do list += (list.size() == 1 ? "" : ",") + number();
      while (next_is(','));
    }
    take(']');
    return list + ']';
  }

  const std::string& tensor_;
  const std::string& json_;
  size_t at_ = 0;
  std::map<std::string, std::string> values_;
};

using Values = std::map<std::string, std::string>;

std::string value_of(const Values& values, const char* key) {
  const auto found = values.find(key);
  return found == values.end() ? "nothing" : found->second;
}

void expect(const std::string& tensor, const Values& values, const char* key,
            const std::string& expected) {
  const std::string found = value_of(values, key);
  if (found == expected) return;
  throw Error(QLORA_ERROR_UNSUPPORTED, tensor + ": " + key + " must be " + expected + ", found " +
                                           found +
                                           "; save the checkpoint as NF4 with blocks of 64");
}

void expect_known(const std::string& tensor, const Values& values, bool double_quantized) {
  static const std::set<std::string> plain = {"quant_type", "blocksize", "dtype", "shape"};
  static const std::set<std::string> nested = {"nested_blocksize", "nested_dtype", "nested_offset"};
  for (const auto& entry : values) {
    if (plain.count(entry.first) != 0) continue;
    if (double_quantized && nested.count(entry.first) != 0) continue;
    throw Error(QLORA_ERROR_UNSUPPORTED,
                tensor + ": quant_state has the key " + entry.first + ", unknown to NF4 " +
                    (double_quantized ? "with" : "without") +
                    " double quantisation; save the checkpoint again with bitsandbytes");
  }
}

float parse_offset(const std::string& tensor, const std::string& text) {
  char* end = nullptr;
  const double offset = std::strtod(text.c_str(), &end);
  if (end != text.c_str() && *end == '\0' && std::isfinite(static_cast<float>(offset))) {
    return static_cast<float>(offset);
  }
  throw Error(QLORA_ERROR_INVALID_ARGUMENT, tensor + ": nested_offset must be a number, found " +
                                                text + "; fetch the checkpoint again");
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
  const Values values = FlatJson(tensor, json).values();
  expect_known(tensor, values, double_quantized);
  expect(tensor, values, "quant_type", "\"nf4\"");
  expect(tensor, values, "blocksize", "64");
  expect(tensor, values, "shape", "[" + std::to_string(out) + "," + std::to_string(in) + "]");
  if (!double_quantized) return 0;
  expect(tensor, values, "nested_blocksize", "256");
  expect(tensor, values, "nested_dtype", "\"float32\"");
  return parse_offset(tensor, value_of(values, "nested_offset"));
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
