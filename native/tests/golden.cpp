#include "golden.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "qlora.h"

namespace golden {

namespace {

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// The raw text of a key's value, up to what ends it.
std::string value_of(const std::string& json, const std::string& key, size_t from = 0) {
  const size_t at = json.find("\"" + key + "\":", from);
  if (at == std::string::npos) throw std::runtime_error("no key " + key);
  size_t begin = at + key.size() + 3;
  while (json[begin] == ' ') ++begin;
  const size_t end =
      json[begin] == '[' ? json.find(']', begin) + 1 : json.find_first_of(",}\n", begin);
  return json.substr(begin, end - begin);
}

std::vector<int64_t> integers_of(const std::string& list) {
  std::vector<int64_t> values;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] < '0' || list[i] > '9') continue;
    size_t used = 0;
    values.push_back(std::stoll(list.substr(i), &used));
    i += used;
  }
  return values;
}

float float_of_half(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31u);
  const int fraction = static_cast<int>(bits & 1023u);
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                   : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  return (bits & 0x8000u) != 0 ? -size : size;
}

}  // namespace

int64_t Tensor::count() const {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

int Tensor::qlora_dtype() const {
  if (dtype == "F32") return QLORA_F32;
  if (dtype == "BF16") return QLORA_BF16;
  if (dtype == "U8") return QLORA_U8;
  throw std::runtime_error("no qlora_dtype for " + dtype);
}

std::vector<float> Tensor::floats() const {
  std::vector<float> values(static_cast<size_t>(count()));
  if (dtype == "F16") {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = float_of_half(static_cast<unsigned>(bytes[2 * i] | bytes[2 * i + 1] << 8));
    }
    return values;
  }
  if (dtype != "F32") throw std::runtime_error("expected F32 or F16, found " + dtype);
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<float> Tensor::slice(int64_t i) const {
  const std::vector<float> all = floats();
  const std::ptrdiff_t size = static_cast<std::ptrdiff_t>(count() / shape.at(0));
  return std::vector<float>(all.begin() + i * size, all.begin() + (i + 1) * size);
}

std::vector<int32_t> Tensor::integers() const {
  if (dtype != "I32") throw std::runtime_error("expected I32, found " + dtype);
  std::vector<int32_t> values(static_cast<size_t>(count()));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::map<std::string, Tensor> read_safetensors(const std::string& path) {
  const std::string file = read_file(path);
  if (file.size() < 8) throw std::runtime_error(path + " is too short");
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes = header_bytes << 8 | static_cast<unsigned char>(file[static_cast<size_t>(i)]);
  }
  const std::string header = file.substr(8, header_bytes);
  std::map<std::string, Tensor> tensors;
  const std::string mark = "\":{\"dtype\":";
  for (size_t at = header.find(mark); at != std::string::npos; at = header.find(mark, at + 1)) {
    const size_t name_begin = header.rfind('"', at - 1) + 1;
    Tensor tensor;
    tensor.dtype = value_of(header, "dtype", at);
    tensor.dtype = tensor.dtype.substr(1, tensor.dtype.size() - 2);
    tensor.shape = integers_of(value_of(header, "shape", at));
    const std::vector<int64_t> offsets = integers_of(value_of(header, "data_offsets", at));
    const char* data = file.data() + 8 + header_bytes;
    tensor.bytes.assign(data + offsets[0], data + offsets[1]);
    tensors[header.substr(name_begin, at - name_begin)] = std::move(tensor);
  }
  return tensors;
}

std::string path_of(const std::string& file) { return std::string(QLORA_GOLDEN_DIR) + "/" + file; }

Case::Case(const std::string& case_name)
    : name(case_name),
      tensors(read_safetensors(path_of(case_name + ".safetensors"))),
      json_(read_file(path_of(case_name + ".json"))) {}

const Tensor& Case::tensor(const std::string& tensor_name) const {
  const auto found = tensors.find(tensor_name);
  if (found == tensors.end()) throw std::runtime_error(name + " has no tensor " + tensor_name);
  return found->second;
}

std::vector<std::string> Case::names(const std::string& prefix) const {
  std::vector<std::string> found;
  for (const auto& entry : tensors) {
    if (entry.first.compare(0, prefix.size(), prefix) == 0) {
      found.push_back(entry.first.substr(prefix.size()));
    }
  }
  return found;
}

double Case::number(const std::string& key) const { return std::stod(value_of(json_, key)); }
bool Case::flag(const std::string& key) const { return value_of(json_, key) == "true"; }
std::string Case::text(const std::string& key) const {
  const std::string quoted = value_of(json_, key);
  return quoted.substr(1, quoted.size() - 2);
}

const std::vector<std::string>& case_names() {
  static const std::vector<std::string> names = {
      "mha_untied",       "gqa2_tied_llama3",     "gqa4_one_sample", "qwen2_bias_nf4",
      "qwen3_norm",       "llama_nf4_double",     "tinyllama_gqa8",  "smollm2_tied",
      "mistral_head_dim", "llama32_tied_factor32"};
  return names;
}

}  // namespace golden
