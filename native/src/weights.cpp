#include "weights.h"

#include <algorithm>
#include <cstring>

#include "bnb_state.h"
#include "error.h"
#include "widen.h"

namespace qlora {

namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kNestedBlock = 256;
constexpr int64_t kMaxChunk = int64_t{1} << 22;

// What of a linear has arrived: the whole tensor, or the parts bitsandbytes saves.
enum Part : unsigned {
  kWhole = 1,
  kPacked = 2,
  kAbsmax = 4,
  kNestedAbsmax = 8,
  kQuantState = 16,
  kQuantMap = 32,
  kNestedQuantMap = 64
};

struct PartName {
  const char* suffix;
  Part part;
};
const PartName kPartNames[] = {{".absmax", kAbsmax},
                               {".nested_absmax", kNestedAbsmax},
                               {".quant_state.bitsandbytes__nf4", kQuantState},
                               {".quant_map", kQuantMap},
                               {".nested_quant_map", kNestedQuantMap}};

int64_t blocks_of(int64_t count) { return (count + kBlock - 1) / kBlock; }
int64_t nested_blocks_of(int64_t count) {
  return (blocks_of(count) + kNestedBlock - 1) / kNestedBlock;
}

int64_t dtype_bytes(int dtype) {
  switch (dtype) {
    case QLORA_F32:
      return 4;
    case QLORA_F16:
    case QLORA_BF16:
      return 2;
    case QLORA_U8:
      return 1;
    default:
      throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                  "dtype must be a qlora_dtype (0 … 3), found " + std::to_string(dtype));
  }
}

const char* dtype_name(int dtype) {
  switch (dtype) {
    case QLORA_F32:
      return "f32";
    case QLORA_F16:
      return "f16";
    case QLORA_BF16:
      return "bf16";
    default:
      return "u8";
  }
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

int64_t product(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

[[noreturn]] void refuse_tensor(const std::string& name, const std::string& expected, int dtype,
                                const std::vector<int64_t>& shape, int64_t bytes) {
  throw Error(QLORA_ERROR_INVALID_ARGUMENT, name + ": expected " + expected + ", found " +
                                                dtype_name(dtype) + " " + shape_text(shape) +
                                                " in " + std::to_string(bytes) + " bytes");
}

}  // namespace

int64_t Weights::Tensor::count() const { return product(shape); }

Weights::Weights(const Architecture& arch) : arch_(arch), rope_(arch) {
  layers_.resize(static_cast<size_t>(arch_.L));
  Arena& embeddings_arena = arch_.embeddings_on_host() ? host_arena_ : arena_;
  Arena& head_arena = arch_.head_on_host() ? host_arena_ : arena_;
  embeddings_arena.add(embeddings_, Memory::embeddings, arch_.V * arch_.H);
  if (!arch_.tied()) head_arena.add(head_, Memory::embeddings, arch_.V * arch_.H);
  arena_.add(final_norm_, Memory::constants, arch_.H);
  for (LayerWeights& layer : layers_) {
    arena_.add(layer.input_norm, Memory::constants, arch_.H);
    arena_.add(layer.post_norm, Memory::constants, arch_.H);
    if (arch_.config.qkv_bias != 0) {
      arena_.add(layer.qkv_bias, Memory::constants, arch_.qkv_columns());
    }
    if (arch_.config.qk_norm != 0) {
      arena_.add(layer.q_norm, Memory::constants, arch_.D);
      arena_.add(layer.k_norm, Memory::constants, arch_.D);
    }
    for (int m = 0; m < kModules; ++m) {
      size_linear(layer.linears[static_cast<size_t>(m)], arch_.module_out(m) * arch_.module_in(m));
    }
  }
  register_tensors();
}

void Weights::size_linear(LinearStorage& storage, int64_t count) {
  if (arch_.config.quantization == QLORA_QUANTIZATION_NONE) {
    arena_.add(storage.plain, Memory::base, count);
    return;
  }
  arena_.add(storage.packed, Memory::base, (count + 1) / 2);
  if (arch_.config.quantization == QLORA_QUANTIZATION_NF4) {
    arena_.add(storage.absmax, Memory::constants, blocks_of(count));
  } else {
    arena_.add(storage.absmax_codes, Memory::constants, blocks_of(count));
    arena_.add(storage.absmax2, Memory::constants, nested_blocks_of(count));
  }
}

void Weights::add_tensor(Tensor tensor) {
  index_[tensor.name] = tensors_.size();
  tensors_.push_back(std::move(tensor));
}

void Weights::register_tensors() {
  const auto act = [&](const std::string& name, std::vector<int64_t> shape, act_t*& pointer) {
    Tensor t;
    t.name = name;
    t.form = Form::act;
    t.shape = std::move(shape);
    t.act = &pointer;
    add_tensor(std::move(t));
  };
  const auto f32 = [&](const std::string& name, int64_t size, float*& pointer, int64_t offset) {
    Tensor t;
    t.name = name;
    t.form = Form::f32;
    t.shape = {size};
    t.f32 = &pointer;
    t.f32_offset = offset;
    add_tensor(std::move(t));
  };
  act("model.embed_tokens.weight", {arch_.V, arch_.H}, embeddings_);
  for (int64_t i = 0; i < arch_.L; ++i) {
    LayerWeights& layer = layers_[static_cast<size_t>(i)];
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    f32(prefix + "input_layernorm.weight", arch_.H, layer.input_norm, 0);
    f32(prefix + "post_attention_layernorm.weight", arch_.H, layer.post_norm, 0);
    if (arch_.config.qk_norm != 0) {
      f32(prefix + "self_attn.q_norm.weight", arch_.D, layer.q_norm, 0);
      f32(prefix + "self_attn.k_norm.weight", arch_.D, layer.k_norm, 0);
    }
    int64_t bias_offset = 0;
    for (int m = 0; m < kModules; ++m) {
      Tensor t;
      t.name = prefix + module_name(m) + ".weight";
      t.form = Form::linear;
      t.shape = {arch_.module_out(m), arch_.module_in(m)};
      t.linear = &layer.linears[static_cast<size_t>(m)];
      add_tensor(std::move(t));
      if (arch_.config.qkv_bias != 0 && m <= kV) {
        f32(prefix + module_name(m) + ".bias", arch_.module_out(m), layer.qkv_bias, bias_offset);
        bias_offset += arch_.module_out(m);
      }
    }
  }
  f32("model.norm.weight", arch_.H, final_norm_, 0);
  if (!arch_.tied()) act("lm_head.weight", {arch_.V, arch_.H}, head_);
}

MemoryTable Weights::table() const {
  MemoryTable table = arena_.table();
  table += host_arena_.table();
  table += rope_.growth(0, 1);
  return table;
}

void Weights::allocate(Device& device, Budget& budget) {
  arena_.allocate(device, budget, "the base model");
  host_arena_.allocate(device, budget, "embeddings in host memory");
  int64_t largest = 0;
  int64_t largest_linear = 0;
  for (const Tensor& tensor : tensors_) {
    largest = std::max(largest, tensor.count());
    if (tensor.form == Form::linear) largest_linear = std::max(largest_linear, tensor.count());
  }
  chunk_ = std::min(kMaxChunk, blocks_of(largest) * kBlock);
  staging_ = std::make_unique<Arena>();
  staging_->add(staging_raw_, Memory::workspace, chunk_);
  staging_->add(staging_values_, Memory::workspace, chunk_);
  staging_->add(staging_absmax_, Memory::workspace, blocks_of(largest_linear));
  staging_->allocate(device, budget, "loading buffers");
  rope_.require(1, device, budget);
}

void Weights::load(const std::string& name, int dtype, const std::vector<int64_t>& shape,
                   const void* data_host, int64_t bytes, Device& device) {
  const int64_t element = dtype_bytes(dtype);
  const auto found = index_.find(name);
  if (found == index_.end()) {
    for (const PartName& part : kPartNames) {
      const size_t length = std::strlen(part.suffix);
      if (name.size() <= length || name.compare(name.size() - length, length, part.suffix) != 0) {
        continue;
      }
      const auto owner = index_.find(name.substr(0, name.size() - length));
      if (owner == index_.end() || tensors_[owner->second].form != Form::linear) continue;
      load_part(tensors_[owner->second], part.part, dtype, shape, data_host, bytes, device);
      return;
    }
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "unknown tensor " + name +
                    (name == "lm_head.weight"
                         ? ": this model ties its head to model.embed_tokens.weight"
                         : ": expected a Llama tensor such as model.layers.0.mlp.up_proj.weight"
                           " of a layer below " +
                               std::to_string(arch_.L)));
  }
  Tensor& tensor = tensors_[found->second];
  if (dtype == QLORA_U8 && tensor.form == Form::linear) {
    load_part(tensor, kPacked, dtype, shape, data_host, bytes, device);
    return;
  }
  if (tensor.arrived != 0) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, name + " has arrived already; load each tensor once");
  }
  if (dtype == QLORA_U8 || shape != tensor.shape || bytes != tensor.count() * element) {
    refuse_tensor(name,
                  "f32, f16 or bf16 " + shape_text(tensor.shape) + " in " +
                      std::to_string(tensor.count() * (dtype == QLORA_U8 ? 4 : element)) + " bytes",
                  dtype, shape, bytes);
  }
  load_whole(tensor, dtype, data_host, device);
  tensor.arrived = kWhole;
}

void Weights::load_whole(Tensor& tensor, int dtype, const void* data_host, Device& device) {
  const char* source = static_cast<const char*>(data_host);
  const int64_t element = dtype_bytes(dtype);
  const int64_t total = tensor.count();
  for (int64_t begin = 0; begin < total; begin += chunk_) {
    const int64_t count = std::min(chunk_, total - begin);
    const void* chunk = source + begin * element;
    if (tensor.form == Form::act) {
      ops::load_act(*tensor.act + begin, chunk, dtype, count, staging_raw_, device);
    } else if (tensor.form == Form::f32) {
      ops::load_f32(*tensor.f32 + tensor.f32_offset + begin, chunk, dtype, count, staging_raw_,
                    device);
    } else if (tensor.linear->plain != nullptr) {
      ops::load_act(tensor.linear->plain + begin, chunk, dtype, count, staging_raw_, device);
    } else {
      ops::load_f32(staging_values_, chunk, dtype, count, staging_raw_, device);
      store_values(tensor, begin, count, device);
    }
  }
  finish_linear(tensor, device);
}

void Weights::store_values(Tensor& tensor, int64_t begin, int64_t count, Device& device) {
  if (tensor.form == Form::act) {
    ops::scale_cast(*tensor.act + begin, count, staging_values_, 1, count, 1.0f, device);
  } else if (tensor.form == Form::f32) {
    device.copy(*tensor.f32 + tensor.f32_offset + begin, staging_values_,
                static_cast<size_t>(count) * sizeof(float));
  } else if (tensor.linear->plain != nullptr) {
    ops::scale_cast(tensor.linear->plain + begin, count, staging_values_, 1, count, 1.0f, device);
  } else {
    float* absmax = tensor.linear->absmax != nullptr ? tensor.linear->absmax : staging_absmax_;
    ops::nf4_quantize(tensor.linear->packed + begin / 2, absmax + begin / kBlock, staging_values_,
                      count, device);
  }
}

// After the last chunk of a whole linear: quantises its constants.
void Weights::finish_linear(Tensor& tensor, Device& device) {
  if (tensor.form != Form::linear || tensor.linear->absmax_codes == nullptr) return;
  LinearStorage& linear = *tensor.linear;
  ops::absmax_quantize(linear.absmax_codes, linear.absmax2, &linear.absmax_offset, staging_absmax_,
                       blocks_of(tensor.count()), device);
  device.synchronize();
}

void Weights::load_part(Tensor& tensor, unsigned part, int dtype, const std::vector<int64_t>& shape,
                        const void* data_host, int64_t bytes, Device& device) {
  std::string name = tensor.name;
  for (const PartName& p : kPartNames) {
    if (p.part == part) name += p.suffix;
  }
  const bool nested = arch_.config.quantization == QLORA_QUANTIZATION_NF4_DOUBLE;
  if (arch_.config.quantization == QLORA_QUANTIZATION_NONE) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                name +
                    " is a part of a 4-bit weight, but this model is configured without "
                    "quantisation; set quantization to NF4 or NF4_DOUBLE");
  }
  if ((tensor.arrived & (kWhole | part)) != 0) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, name + " has arrived already; load each tensor once");
  }
  const int64_t count = tensor.count();
  int expected_dtype = QLORA_F32;
  int64_t expected_count = 0;
  switch (part) {
    case kPacked:
      expected_dtype = QLORA_U8;
      expected_count = (count + 1) / 2;
      break;
    case kAbsmax:
      expected_dtype = nested ? QLORA_U8 : QLORA_F32;
      expected_count = blocks_of(count);
      break;
    case kNestedAbsmax:
      expected_count = nested ? nested_blocks_of(count) : 0;
      break;
    case kQuantMap:
      expected_count = 16;
      break;
    case kNestedQuantMap:
      expected_count = 256;
      break;
    default:
      expected_dtype = QLORA_U8;
      expected_count = bytes;
  }
  const int64_t expected_bytes = expected_count * dtype_bytes(expected_dtype);
  if (dtype != expected_dtype || product(shape) != expected_count || bytes != expected_bytes) {
    refuse_tensor(name,
                  std::string(dtype_name(expected_dtype)) + " of " +
                      std::to_string(expected_count) + " elements in " +
                      std::to_string(expected_bytes) + " bytes (quantization is " +
                      (nested ? "NF4_DOUBLE" : "NF4") + ")",
                  dtype, shape, bytes);
  }
  store_part(tensor, part, data_host, bytes, device);
  tensor.arrived |= part;
}

void Weights::store_part(Tensor& tensor, unsigned part, const void* data_host, int64_t bytes,
                         Device& device) {
  const bool nested = arch_.config.quantization == QLORA_QUANTIZATION_NF4_DOUBLE;
  LinearStorage& linear = *tensor.linear;
  const size_t size = static_cast<size_t>(bytes);
  float map[256];
  switch (part) {
    case kPacked:
      device.copy_to_device(linear.packed, data_host, size);
      break;
    case kAbsmax:
      if (nested) {
        device.copy_to_device(linear.absmax_codes, data_host, size);
      } else {
        device.copy_to_device(linear.absmax, data_host, size);
      }
      break;
    case kNestedAbsmax:
      device.copy_to_device(linear.absmax2, data_host, size);
      break;
    case kQuantMap:
      std::memcpy(map, data_host, size);
      check_nf4_map(tensor.name, map);
      break;
    case kNestedQuantMap:
      std::memcpy(map, data_host, size);
      check_dynamic_map(tensor.name, map);
      break;
    default:
      linear.absmax_offset =
          read_bnb_state(tensor.name, std::string(static_cast<const char*>(data_host), size),
                         tensor.shape[0], tensor.shape[1], nested);
  }
  device.synchronize();
}

void Weights::load_random(uint64_t seed, double std, Device& device) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    Tensor& tensor = tensors_[i];
    const bool norm = tensor.name.size() > 11 &&
                      tensor.name.compare(tensor.name.size() - 11, 11, "norm.weight") == 0;
    if (norm) {
      const std::vector<float> ones(static_cast<size_t>(tensor.count()), 1.0f);
      load_whole(tensor, QLORA_F32, ones.data(), device);
    } else {
      const int64_t total = tensor.count();
      for (int64_t begin = 0; begin < total; begin += chunk_) {
        const int64_t count = std::min(chunk_, total - begin);
        const uint64_t stream =
            (static_cast<uint64_t>(i) << 24) + static_cast<uint64_t>(begin / chunk_);
        ops::random_normal(staging_values_, count, seed, stream, std, device);
        store_values(tensor, begin, count, device);
      }
      finish_linear(tensor, device);
    }
    tensor.arrived = kWhole;
  }
  device.synchronize();
}

unsigned Weights::required_parts(const Tensor& tensor) const {
  if (tensor.form != Form::linear || tensor.arrived == 0 || (tensor.arrived & kWhole) != 0) {
    return kWhole;
  }
  return arch_.config.quantization == QLORA_QUANTIZATION_NF4_DOUBLE
             ? kPacked | kAbsmax | kNestedAbsmax | kQuantState
             : kPacked | kAbsmax | kQuantState;
}

void Weights::finalize() {
  std::vector<std::string> missing;
  for (const Tensor& tensor : tensors_) {
    const unsigned absent = required_parts(tensor) & ~tensor.arrived;
    if ((absent & (kWhole | kPacked)) != 0) missing.push_back(tensor.name);
    for (const PartName& part : kPartNames) {
      if ((absent & part.part) != 0) missing.push_back(tensor.name + part.suffix);
    }
  }
  if (!missing.empty()) {
    std::string text = std::to_string(missing.size()) + " tensors have not arrived: ";
    for (size_t i = 0; i < missing.size() && i < 4; ++i) text += (i == 0 ? "" : ", ") + missing[i];
    if (missing.size() > 4) text += ", …";
    throw Error(QLORA_ERROR_STATE, text + "; load them, then finalize again");
  }
  staging_.reset();
}

ops::Weight Weights::linear(int64_t layer, int module) const {
  const LinearStorage& storage =
      layers_[static_cast<size_t>(layer)].linears[static_cast<size_t>(module)];
  ops::Weight w;
  w.out = arch_.module_out(module);
  w.in = arch_.module_in(module);
  w.plain = storage.plain;
  w.ld = w.in;
  w.packed = storage.packed;
  w.absmax = storage.absmax;
  w.absmax_codes = storage.absmax_codes;
  w.absmax2 = storage.absmax2;
  w.absmax_offset = storage.absmax_offset;
  return w;
}

ops::Weight Weights::head() const {
  ops::Weight w;
  w.out = arch_.V;
  w.in = arch_.H;
  w.plain = arch_.tied() ? embeddings_ : head_;
  w.ld = arch_.H;
  return w;
}

void Weights::read(const std::string& name, float* values_host, int64_t count,
                   Device& device) const {
  const auto found = index_.find(name);
  if (found == index_.end()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "unknown tensor " + name);
  }
  const Tensor& tensor = tensors_[found->second];
  if (count != tensor.count()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, name + " has " + std::to_string(tensor.count()) +
                                                  " values " + shape_text(tensor.shape) +
                                                  ", found room for " + std::to_string(count));
  }
  if (tensor.form == Form::f32) {
    device.copy_to_host(values_host, *tensor.f32 + tensor.f32_offset,
                        static_cast<size_t>(count) * sizeof(float));
    return;
  }
  const int64_t columns = tensor.shape[1];
  const int64_t rows_at_once = std::max<int64_t>(1, kMaxChunk / columns);
  std::vector<act_t> host(static_cast<size_t>(std::min(tensor.shape[0], rows_at_once) * columns));
  Budget unlimited(0);
  Arena arena;
  act_t* scratch = nullptr;
  arena.add(scratch, Memory::workspace, static_cast<int64_t>(host.size()));
  arena.allocate(device, unlimited, "reading a tensor");
  ops::Weight w;
  if (tensor.form == Form::linear) {
    const LinearStorage& s = *tensor.linear;
    w.plain = s.plain;
    w.packed = s.packed;
    w.absmax = s.absmax;
    w.absmax_codes = s.absmax_codes;
    w.absmax2 = s.absmax2;
    w.absmax_offset = s.absmax_offset;
  } else {
    w.plain = *tensor.act;
  }
  w.out = tensor.shape[0];
  w.in = columns;
  w.ld = columns;
  for (int64_t row = 0; row < w.out; row += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, w.out - row);
    ops::dequantize(scratch, columns, w, row, rows, 0, columns, device);
    device.copy_to_host(host.data(), scratch, static_cast<size_t>(rows * columns) * sizeof(act_t));
    widen(values_host + row * columns, host.data(), rows * columns);
  }
}

void Weights::read_part(const std::string& name, void* data_host, int64_t bytes,
                        Device& device) const {
  const size_t at = name.find(".weight");
  const size_t end = at == std::string::npos ? name.size() : at + std::strlen(".weight");
  const auto found = index_.find(name.substr(0, end));
  if (found == index_.end() || tensors_[found->second].linear == nullptr ||
      tensors_[found->second].linear->packed == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                name +
                    " is not of a quantised linear: expected the weight of one of a layer's seven "
                    "linears in a model with NF4");
  }
  const Tensor& tensor = tensors_[found->second];
  const LinearStorage& linear = *tensor.linear;
  const int64_t blocks = blocks_of(tensor.count());
  const std::string part = name.substr(end);
  const bool nested = linear.absmax_codes != nullptr;
  const void* source = nullptr;
  int64_t expected = 0;
  if (part.empty()) {
    source = linear.packed;
    expected = (tensor.count() + 1) / 2;
  } else if (part == ".absmax") {
    source = nested ? static_cast<const void*>(linear.absmax_codes) : linear.absmax;
    expected = nested ? blocks : blocks * dtype_bytes(QLORA_F32);
  } else if (nested && part == ".nested_absmax") {
    source = linear.absmax2;
    expected = nested_blocks_of(tensor.count()) * dtype_bytes(QLORA_F32);
  } else if (nested && part == ".nested_offset") {
    expected = dtype_bytes(QLORA_F32);
  } else {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                name + ": expected a part among absmax" +
                    (nested ? ", nested_absmax, nested_offset" : " (quantization is NF4)") +
                    ", found '" + part + "'");
  }
  if (bytes != expected) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, name + " has " + std::to_string(expected) +
                                                  " bytes, found room for " +
                                                  std::to_string(bytes));
  }
  if (source == nullptr) {
    std::memcpy(data_host, &linear.absmax_offset, static_cast<size_t>(bytes));
  } else {
    device.copy_to_host(data_host, source, static_cast<size_t>(bytes));
  }
}

}  // namespace qlora
