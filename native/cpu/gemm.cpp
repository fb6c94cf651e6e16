// gemm: c = alpha · op(a) · op(b) + beta · c
#include "cpu_device.h"

namespace qlora {

void ops::gemm_f32(float* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
                   int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   float beta, Device& d) {
  cpu::cpu_device(d).parallel_range(m, cpu::grain(n * k), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float sum = 0.0f;
        for (int64_t p = 0; p < k; ++p) {
          sum += (trans_a ? a[p * lda + i] : a[i * lda + p]) *
                 (trans_b ? b[j * ldb + p] : b[p * ldb + j]);
        }
        float* const out = c + i * ldc + j;
        *out = beta == 0.0f ? alpha * sum : alpha * sum + beta * *out;
      }
    }
  });
}

void ops::gemm(act_t* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
               int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
               Device& d) {
  gemm_f32(c, ldc, a, lda, trans_a, b, ldb, trans_b, m, n, k, alpha, beta, d);
}

}  // namespace qlora
