// Reads the golden vectors of tests/golden (see make.py there): safetensors and flat JSON.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace golden {

struct Tensor {
  std::string dtype;  // "F32", "F16", "BF16", "U8", "I32"
  std::vector<int64_t> shape;
  std::vector<unsigned char> bytes;

  int64_t count() const;
  int qlora_dtype() const;
  std::vector<float> floats() const;          // F32, F16
  std::vector<float> slice(int64_t i) const;  // [i] of the first dimension, as floats
  std::vector<int32_t> integers() const;      // I32
};

// Tensors by name; throws std::runtime_error naming the file.
std::map<std::string, Tensor> read_safetensors(const std::string& path);

class Case {
 public:
  explicit Case(const std::string& name);

  const Tensor& tensor(const std::string& name) const;
  bool has(const std::string& name) const { return tensors.count(name) != 0; }
  // Names that begin with prefix, without it.
  std::vector<std::string> names(const std::string& prefix) const;
  double number(const std::string& key) const;
  // What naive bf16 does to a result: ‖naive − fp32‖ / ‖fp32‖ (see make.py).
  double naive_error(const std::string& result) const { return number("naive." + result); }
  bool flag(const std::string& key) const;
  std::string text(const std::string& key) const;

  std::string name;
  std::map<std::string, Tensor> tensors;

 private:
  std::string json_;
};

const std::vector<std::string>& case_names();
std::string path_of(const std::string& file);

}  // namespace golden
