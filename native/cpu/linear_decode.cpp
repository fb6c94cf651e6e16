// linear_decode: y = x · wᵀ + beta · y. A task reads some rows of the weight (undoing NF4 on the
// way) and multiplies them with every row of x, a few by a few.
#include <algorithm>

#include "cpu_device.h"
#include "dequantize.h"
#include "kernels.h"

namespace qlora {
namespace {

constexpr int64_t kBlockRows = 16;  // of the weight, read together

// y[:, 0 … rows) from `rows` rows of the weight.
void multiply(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const float* weights,
              int64_t ldw, int64_t rows, int64_t n, float beta) {
  constexpr int64_t kStep = cpu::kDotRows;
  float sums[kStep * kStep];
  for (int64_t j = 0; j < m; j += kStep) {
    const int64_t x_rows = std::min(kStep, m - j);
    for (int64_t i = 0; i < rows; i += kStep) {
      const int64_t w_rows = std::min(kStep, rows - i);
      cpu::kernels().row.dots(sums, weights + i * ldw, ldw, w_rows, x + j * ldx, ldx, x_rows, n);
      for (int64_t b = 0; b < x_rows; ++b) {
        for (int64_t a = 0; a < w_rows; ++a) {
          act_t* const out = y + (j + b) * ldy + i + a;
          *out = beta == 0.0f ? sums[a * kStep + b] : sums[a * kStep + b] + beta * *out;
        }
      }
    }
  }
}

}  // namespace

void ops::linear_decode(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const Weight& w, float beta, Device& d) {
  cpu::CpuDevice& device = cpu::cpu_device(d);
  const bool is_plain = w.plain != nullptr;
  if (!is_plain) device.reserve_worker_scratch(size_t(kBlockRows * w.in) * sizeof(float));
  const int64_t blocks = (w.out + kBlockRows - 1) / kBlockRows;
  const int64_t least = cpu::grain(kBlockRows * w.in);
  device.parallel_range(blocks, least, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kBlockRows, rows = std::min(kBlockRows, w.out - first);
      if (is_plain) {
        multiply(y + first, ldy, x, ldx, m, w.plain + first * w.ld, w.ld, rows, w.in, beta);
        continue;
      }
      float* const weights = device.worker_scratch(worker);
      for (int64_t i = 0; i < rows; ++i) cpu::read_weight_row(weights + i * w.in, w, first + i);
      multiply(y + first, ldy, x, ldx, m, weights, w.in, rows, w.in, beta);
    }
  });
}

void ops::linear_decode_f32(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                            const Weight& w, Device& d) {
  linear_decode(y, ldy, x, ldx, m, w, 0.0f, d);
}

}  // namespace qlora
