#include "batch.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace qlora {

namespace {

[[noreturn]] void refuse(const std::string& field, double found, const std::string& expected) {
  std::string value = std::to_string(found);
  if (found == std::floor(found) && std::abs(found) < 1e15) {
    value = std::to_string(static_cast<int64_t>(found));
  }
  throw Error(QLORA_ERROR_INVALID_ARGUMENT,
              "batch: " + field + " must be " + expected + ", found " + value);
}

std::string at(const char* field, int64_t i) {
  return std::string(field) + "[" + std::to_string(i) + "]";
}

std::string between(int64_t low, int64_t high) {
  return "between " + std::to_string(low) + " and " + std::to_string(high);
}

void check_header(const qlora_batch* b) {
  if (b == nullptr) throw Error(QLORA_ERROR_INVALID_ARGUMENT, "batch must not be NULL");
  check_struct_size("qlora_batch", b->struct_size, sizeof(qlora_batch));
  if (b->num_tokens < 1) refuse("num_tokens", b->num_tokens, "at least 1");
  if (b->num_sequences < 0) refuse("num_sequences", b->num_sequences, "at least 0");
  if (b->num_targets < 1) refuse("num_targets", b->num_targets, "at least 1");
  if (b->prefix_length < 0 || b->prefix_length > b->num_tokens) {
    refuse("prefix_length", b->prefix_length, between(0, b->num_tokens));
  }
  if (b->token_ids == nullptr || b->cu_seqlens == nullptr || b->target_rows == nullptr ||
      b->target_ids == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "batch: token_ids, cu_seqlens, target_rows and target_ids must not be NULL");
  }
}

void read_sequences(Batch& out, const qlora_batch& b, const Architecture& arch) {
  if (b.cu_seqlens[0] != b.prefix_length) {
    refuse("cu_seqlens[0]", b.cu_seqlens[0], "prefix_length (" + std::to_string(out.P) + ")");
  }
  if (b.cu_seqlens[out.S] != b.num_tokens) {
    refuse(at("cu_seqlens", out.S), b.cu_seqlens[out.S],
           "num_tokens (" + std::to_string(out.T) + ")");
  }
  out.cu_seqlens.assign(b.cu_seqlens, b.cu_seqlens + out.S + 1);
  for (int64_t i = 0; i < out.P; ++i) {
    out.positions.push_back(static_cast<int32_t>(i));
    out.keys.push_back(-1);
  }
  int64_t longest = 0;
  for (int64_t s = 0; s < out.S; ++s) {
    const int32_t begin = b.cu_seqlens[s];
    const int32_t end = b.cu_seqlens[s + 1];
    if (end < begin || end > b.num_tokens) {
      refuse(at("cu_seqlens", s + 1), end, between(begin, b.num_tokens));
    }
    const int32_t key = b.sequence_keys != nullptr ? b.sequence_keys[s] : static_cast<int32_t>(s);
    if (key < 0) refuse(at("sequence_keys", s), key, "at least 0");
    for (int32_t i = begin; i < end; ++i) {
      out.positions.push_back(static_cast<int32_t>(out.P + i - begin));
      out.keys.push_back(key);
    }
    longest = std::max<int64_t>(longest, end - begin);
  }
  out.longest_own = longest;
  out.max_sequence = std::max(longest, out.P);
  if (out.P + longest > arch.config.max_position) {
    refuse("prefix_length plus the longest sequence", static_cast<double>(out.P + longest),
           "at most max_position (" + std::to_string(arch.config.max_position) + ")");
  }
}

void read_targets(Batch& out, const qlora_batch& b, const Architecture& arch) {
  for (int64_t i = 0; i < out.n; ++i) {
    const int32_t row = b.target_rows[i];
    const int32_t least = i == 0 ? 0 : b.target_rows[i - 1];
    if (row < least || row >= b.num_tokens) {
      refuse(at("target_rows", i), row, between(least, out.T - 1) + " (ascending)");
    }
    const int32_t id = b.target_ids[i];
    if (id < 0 || id >= arch.V) refuse(at("target_ids", i), id, between(0, arch.V - 1));
    const float weight = b.target_weights != nullptr ? b.target_weights[i] : 1.0f;
    if (!(weight >= 0) || !std::isfinite(weight)) {
      refuse(at("target_weights", i), weight, "0 or a positive number");
    }
    if (out.last_rows.empty() || out.last_rows.back() != row) {
      out.last_rows.push_back(row);
      out.last_positions.push_back(out.positions[static_cast<size_t>(row)]);
      out.last_keys.push_back(out.keys[static_cast<size_t>(row)]);
    }
    out.target_rows.push_back(static_cast<int32_t>(out.last_rows.size() - 1));
    out.target_ids.push_back(id);
    out.target_weights.push_back(weight);
    out.weight_sum += weight;
  }
}

template <class T>
void upload(T* to, const std::vector<T>& from, Device& device) {
  if (!from.empty()) device.copy_to_device(to, from.data(), from.size() * sizeof(T));
}

}  // namespace

Batch read_batch(const qlora_batch* batch, const Architecture& arch) {
  check_header(batch);
  Batch out;
  out.T = batch->num_tokens;
  out.P = batch->prefix_length;
  out.S = batch->num_sequences;
  out.n = batch->num_targets;
  for (int64_t i = 0; i < out.T; ++i) {
    const int32_t id = batch->token_ids[i];
    if (id < 0 || id >= arch.V) refuse(at("token_ids", i), id, between(0, arch.V - 1));
    out.token_ids.push_back(id);
  }
  read_sequences(out, *batch, arch);
  read_targets(out, *batch, arch);
  return out;
}

void upload_batch(const DeviceBatch& to, const Batch& batch, Device& device) {
  upload(to.token_ids, batch.token_ids, device);
  upload(to.positions, batch.positions, device);
  upload(to.keys, batch.keys, device);
  upload(to.cu_seqlens, batch.cu_seqlens, device);
  upload(to.target_rows, batch.target_rows, device);
  upload(to.target_ids, batch.target_ids, device);
  upload(to.target_weights, batch.target_weights, device);
  upload(to.last_rows, batch.last_rows, device);
  upload(to.last_positions, batch.last_positions, device);
  upload(to.last_keys, batch.last_keys, device);
}

}  // namespace qlora
