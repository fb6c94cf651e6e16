// gemm, gemm_f32 by one thread an element of c, in place of gemm.cpp's cuBLASLt: c = alpha · op(a) ·
// op(b) + beta · c. For the sanitizers alone. initcheck does not see what cuBLASLt's kernels store (it
// reports every reader of a product), and racecheck spends most of its time inside them; with this
// product all that runs is ours and is seen.
#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kSide = 16;

struct Operand {
  const act_t* data;
  int64_t ld;
  bool trans;
};

__device__ inline float at(const Operand& x, int64_t row, int64_t column) {
  return to_float(x.data[x.trans ? column * x.ld + row : row * x.ld + column]);
}

template <class C>
__global__ void plain_gemm_kernel(C* c, int64_t ldc, Operand a, Operand b, int64_t m, int64_t n,
                                  int64_t k, float alpha, float beta) {
  const int64_t row = int64_t{blockIdx.y} * kSide + threadIdx.y;
  const int64_t column = int64_t{blockIdx.x} * kSide + threadIdx.x;
  if (row >= m || column >= n) return;
  float sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += at(a, row, i) * at(b, i, column);
  C* const out = c + row * ldc + column;
  *out = from_float<C>(beta == 0 ? alpha * sum : alpha * sum + beta * to_float(*out));
}

template <class C>
void product(C* c, int64_t ldc, const Operand& a, const Operand& b, int64_t m, int64_t n, int64_t k,
             float alpha, float beta, Device& d) {
  if (m <= 0 || n <= 0) return;
  const dim3 grid(static_cast<unsigned>((n + kSide - 1) / kSide),
                  static_cast<unsigned>((m + kSide - 1) / kSide));
  plain_gemm_kernel<<<grid, dim3(kSide, kSide), 0, cuda_device(d).stream()>>>(c, ldc, a, b, m, n, k,
                                                                              alpha, beta);
  check_launch("plain_gemm");
}

}  // namespace
}  // namespace cuda

void ops::gemm(act_t* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
               int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
               Device& d) {
  cuda::product(c, ldc, {a, lda, trans_a}, {b, ldb, trans_b}, m, n, k, alpha, beta, d);
}

void ops::gemm_f32(float* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
                   int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   float beta, Device& d) {
  cuda::product(c, ldc, {a, lda, trans_a}, {b, ldb, trans_b}, m, n, k, alpha, beta, d);
}

}  // namespace qlora
