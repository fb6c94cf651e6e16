// The ops that only move or add numbers.
//   scale_cast         dst = scale · src
//   scale_cast_windows many windows dst = scale · src, zero beside src's columns
//   bias_forward       y += bias
//   embedding_forward  out[t] = table[ids[t]]
//   gather_rows        out[i] = x[rows[i]]
//   scatter_add_rows   dx[rows[i]] += dout[i], i ascending
//   accumulate         dst += src
#include <algorithm>
#include <cstring>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {

void ops::scale_cast(act_t* dst, int64_t ld, const float* src, int64_t rows, int64_t cols,
                     float scale, Device& d) {
  cpu::cpu_device(d).parallel_range(rows, cpu::grain(cols), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      act_t* const to = dst + row * ld;
      const float* const from = src + row * cols;
      for (int64_t c = 0; c < cols; ++c) to[c] = scale * from[c];
    }
  });
}

void ops::scale_cast_windows(const CastWindow* windows_host, int64_t count, Device& d) {
  for (int64_t i = 0; i < count; ++i) {
    const CastWindow& w = windows_host[i];
    cpu::cpu_device(d).parallel_range(w.rows, cpu::grain(w.cols), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        act_t* const to = w.dst + row * w.ld;
        const float* const from = w.src + row * w.src_cols;
        std::fill_n(to, w.src_begin, act_t{0});
        for (int64_t c = 0; c < w.src_cols; ++c) to[w.src_begin + c] = w.scale * from[c];
        const int64_t behind = w.src_begin + w.src_cols;
        std::fill_n(to + behind, w.cols - behind, act_t{0});
      }
    });
  }
}

void ops::bias_forward(act_t* y, int64_t ld, const float* bias, int64_t T, int64_t C, Device& d) {
  cpu::cpu_device(d).parallel_range(T, cpu::grain(C), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      act_t* const row = y + t * ld;
      cpu::kernels().row.add(row, row, bias, C);
    }
  });
}

void ops::gather_rows(act_t* out, const act_t* x, int64_t ld, const int32_t* rows, int64_t n,
                      int64_t H, Device& d) {
  cpu::cpu_device(d).parallel_range(n, cpu::grain(H), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(out + i * ld, x + rows[i] * ld, size_t(H) * sizeof(act_t));
    }
  });
}

void ops::embedding_forward(act_t* out, const int32_t* ids, const act_t* table, int64_t T,
                            int64_t H, Device& d) {
  gather_rows(out, table, H, ids, T, H, d);
}

// Rows may repeat, so the work is split by columns.
void ops::scatter_add_rows(act_t* dx, const act_t* dout, int64_t ld, const int32_t* rows, int64_t n,
                           int64_t H, Device& d) {
  const int64_t least = std::max<int64_t>(cpu::grain(n), 64);
  cpu::cpu_device(d).parallel_range(H, least, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < n; ++i) {
      act_t* const to = dx + rows[i] * ld + begin;
      cpu::kernels().row.add(to, to, dout + i * ld + begin, end - begin);
    }
  });
}

void ops::accumulate(float* dst, const float* src, int64_t count, Device& d) {
  cpu::cpu_device(d).parallel_range(count, cpu::grain(1), [&](int64_t begin, int64_t end) {
    cpu::kernels().row.add(dst + begin, dst + begin, src + begin, end - begin);
  });
}

}  // namespace qlora
