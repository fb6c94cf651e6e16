// A micro-batch after checking: packed sequences behind a shared prefix, and the targets.
#pragma once

#include <cstdint>
#include <vector>

#include "architecture.h"
#include "ops.h"

namespace qlora {

struct Batch {
  int64_t T = 0, P = 0, S = 0;  // tokens, prefix tokens, sequences
  int64_t n = 0;                // targets
  int64_t longest_own = 0;      // tokens of the longest sequence
  int64_t max_sequence = 0;     // longest of the prefix and the sequences
  double weight_sum = 0;
  std::vector<int32_t> token_ids;                // (T)
  std::vector<int32_t> positions;                // (T)
  std::vector<int32_t> keys;                     // (T) sequence keys; −1 in the prefix
  std::vector<int32_t> cu_seqlens;               // (S + 1)
  std::vector<int32_t> target_rows, target_ids;  // (n); rows among the last rows below
  std::vector<float> target_weights;             // (n)
  // The rows some target reads, ascending: behind the last attention nothing else is computed.
  std::vector<int32_t> last_rows, last_positions, last_keys;

  int64_t num_positions() const { return P + longest_own; }
  int64_t num_last_rows() const { return static_cast<int64_t>(last_rows.size()); }
};

// Throws Error(invalid argument) naming the field and the index.
Batch read_batch(const qlora_batch* batch, const Architecture& arch);

// Where a batch's arrays lie on the device.
struct DeviceBatch {
  int32_t* token_ids = nullptr;
  int32_t* positions = nullptr;
  int32_t* keys = nullptr;
  int32_t* cu_seqlens = nullptr;
  int32_t* target_rows = nullptr;
  int32_t* target_ids = nullptr;
  float* target_weights = nullptr;
  int32_t* last_rows = nullptr;
  int32_t* last_positions = nullptr;
  int32_t* last_keys = nullptr;
};
void upload_batch(const DeviceBatch& to, const Batch& batch, Device& device);

}  // namespace qlora
