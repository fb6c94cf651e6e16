// dequantize: w[i] = code(i) · absmax(i / 64), i the flat index; with double quantisation
// absmax = map[code2] · absmax2 + offset. Also the row reader the decode products share.
#include "dequantize.h"

#include <algorithm>
#include <cstring>

#include "cpu_device.h"
#include "kernels.h"
#include "nf4.h"

namespace qlora {
namespace cpu {

void read_weight_row(float* dst, const ops::Weight& w, int64_t row) {
  read_weight_columns(dst, w, row, 0, w.in);
}

void read_weight_columns(float* dst, const ops::Weight& w, int64_t row, int64_t column,
                         int64_t columns) {
  if (w.plain != nullptr) {
    std::memcpy(dst, w.plain + row * w.ld + column, size_t(columns) * sizeof(float));
    return;
  }
  const float* const map = dynamic_map();
  const auto look_up_nibbles = kernels().row.look_up_nibbles;
  int64_t i = row * w.in + column;
  const int64_t end = i + columns;
  while (i < end) {
    const int64_t block = i / kNf4Block;
    const int64_t stop = std::min(end, (block + 1) * kNf4Block);
    const float absmax = block_absmax(w, block, map);
    float table[16];
    for (int code = 0; code < 16; ++code) table[code] = kNf4[code] * absmax;
    if (i % 2 != 0) *dst++ = table[w.packed[i++ / 2] & 15];
    if (i + 1 < stop) {
      const int64_t bytes = (stop - i) / 2;
      look_up_nibbles(dst, w.packed + i / 2, bytes, table);
      dst += 2 * bytes;
      i += 2 * bytes;
    }
    if (i < stop) *dst++ = table[w.packed[i++ / 2] >> 4];
  }
}

}  // namespace cpu

void ops::dequantize(act_t* dst, int64_t ld, const Weight& w, int64_t row_begin, int64_t rows,
                     int64_t column_begin, int64_t columns, Device& d) {
  cpu::cpu_device(d).parallel_range(rows, cpu::grain(columns), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      cpu::read_weight_columns(dst + row * ld, w, row_begin + row, column_begin, columns);
    }
  });
}

}  // namespace qlora
