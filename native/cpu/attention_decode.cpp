// kv_append: a row of qkv leaves its keys and values in its slot of the cache.
// attention_decode: one query row over the prefix and the first `length` tokens of its slot,
//   s[j] = q·k[j] / √D,  out = Σ softmax(s)[j] · v[j]
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu_device.h"

namespace qlora {

void ops::kv_append(const KvCache& cache, const act_t* qkv, int64_t ld, const int32_t* slot_of_row,
                    const int32_t* position_in_slot, int64_t rows, int64_t Q, Device&) {
  const int64_t width = cache.G * cache.D;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t slot = slot_of_row[i], position = position_in_slot[i];
    const int64_t row = slot < 0 ? position : slot * cache.slot_capacity + position;
    act_t* const k = (slot < 0 ? cache.prefix_k : cache.k) + row * width;
    act_t* const v = (slot < 0 ? cache.prefix_v : cache.v) + row * width;
    const act_t* const from = qkv + i * ld + Q * cache.D;
    std::memcpy(k, from, size_t(width) * sizeof(act_t));
    std::memcpy(v, from + width, size_t(width) * sizeof(act_t));
  }
}

void ops::attention_decode(act_t* out, int64_t ld_out, const act_t* qkv, int64_t ld,
                           const KvCache& cache, const int32_t* slots, const int32_t* lengths,
                           int64_t prefix_length, int64_t rows, int64_t Q, Device& d) {
  const int64_t G = cache.G, D = cache.D, width = G * D;
  const float scale = 1.0f / std::sqrt(static_cast<float>(D));
  int64_t longest = 0;
  for (int64_t i = 0; i < rows; ++i) longest = std::max<int64_t>(longest, lengths[i]);
  cpu::CpuDevice& device = cpu::cpu_device(d);
  device.reserve_worker_scratch(size_t(prefix_length + longest) * sizeof(float));
  device.parallel(rows * Q, [&](int64_t task, int worker) {
    const int64_t i = task / Q, h = task % Q, g = h / (Q / G);
    const int64_t base = slots[i] < 0 ? 0 : slots[i] * cache.slot_capacity;
    const act_t* const slot_k = (slots[i] < 0 ? cache.prefix_k : cache.k) + base * width + g * D;
    const act_t* const slot_v = (slots[i] < 0 ? cache.prefix_v : cache.v) + base * width + g * D;
    const act_t* const q = qkv + i * ld + h * D;
    const int64_t count = prefix_length + lengths[i];
    float* const scores = device.worker_scratch(worker);
    float top = -INFINITY;
    for (int64_t j = 0; j < count; ++j) {
      const act_t* const k = j < prefix_length ? cache.prefix_k + j * width + g * D
                                               : slot_k + (j - prefix_length) * width;
      float sum = 0.0f;
      for (int64_t c = 0; c < D; ++c) sum += q[c] * k[c];
      scores[j] = sum * scale;
      top = std::max(top, scores[j]);
    }
    float sum = 0.0f;
    act_t* const o = out + i * ld_out + h * D;
    std::fill_n(o, D, 0.0f);
    for (int64_t j = 0; j < count; ++j) {
      const act_t* const v = j < prefix_length ? cache.prefix_v + j * width + g * D
                                               : slot_v + (j - prefix_length) * width;
      const float p = std::exp(scores[j] - top);
      sum += p;
      for (int64_t c = 0; c < D; ++c) o[c] += p * v[c];
    }
    for (int64_t c = 0; c < D; ++c) o[c] /= sum;
  });
}

}  // namespace qlora
