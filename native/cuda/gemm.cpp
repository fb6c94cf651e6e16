// gemm, gemm_f32: c = alpha · op(a) · op(b) + beta · c through cuBLASLt, bf16 in, fp32 sums.
//
// cuBLASLt thinks in columns, we in rows. A row-major [r, s] matrix with leading dimension ld is, to
// cuBLASLt, a column-major [s, r] matrix with the same ld: its transpose. So we ask for
//   cᵀ [n, m] = op(b)ᵀ [n, k] · op(a)ᵀ [k, m]
// with b as its first operand and a as its second:
//   b stored [k, n] (trans_b false) is read as [n, k], just what is wanted: no transpose
//   b stored [n, k] (trans_b true)  is read as [k, n]: transpose
//   a stored [m, k] (trans_a false) is read as [k, m], just what is wanted: no transpose
//   a stored [k, m] (trans_a true)  is read as [m, k]: transpose
//
// Split-k partial sums may only be added from the workspace in fp32, in a fixed order: same inputs,
// same bits.
#include <string>

#include "cuda_device.h"
#include "error.h"
#include "gemm_plans.h"

namespace qlora {
namespace cuda {
namespace {

constexpr size_t kMostPlans = 8192;  // lengths vary from batch to batch; then start over

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? QLORA_ERROR_OUT_OF_MEMORY : QLORA_ERROR_DEVICE,
              std::string("cuBLASLt: ") + what + " failed: " + cublasLtGetStatusString(status));
}

struct Operand {
  const act_t* data;
  int64_t ld;
  bool trans;
};

struct Product {
  void* c;
  int64_t ldc;
  cudaDataType_t type;  // of c
  Operand a, b;
  int64_t m, n, k;
  float alpha, beta;
};

// A matrix as cuBLASLt sees it: rows × cols, column-major.
class Layout {
 public:
  Layout(cudaDataType_t type, int64_t rows, int64_t cols, int64_t ld) {
    check_blas(cublasLtMatrixLayoutCreate(&layout_, type, static_cast<uint64_t>(rows),
                                          static_cast<uint64_t>(cols), ld),
               "describing a matrix");
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Description {
 public:
  Description(bool trans_first, bool trans_second) {
    check_blas(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F),
               "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, trans_first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, trans_second);
  }
  ~Description() { cublasLtMatmulDescDestroy(description_); }
  Description(const Description&) = delete;
  Description& operator=(const Description&) = delete;
  cublasLtMatmulDesc_t get() const { return description_; }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_blas(
        cublasLtMatmulDescSetAttribute(description_, attribute, &operation, sizeof operation),
        "describing a product");
  }
  cublasLtMatmulDesc_t description_ = nullptr;
};

class Preference {
 public:
  Preference() {
    check_blas(cublasLtMatmulPreferenceCreate(&preference_), "describing a search");
  }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <class T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, T value) {
    check_blas(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof value),
               "describing a search");
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

// Largest power of two up to 256 that the address is a multiple of.
uint32_t alignment_of(const void* pointer) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  uint32_t alignment = 256;
  while (address % alignment != 0) alignment /= 2;
  return alignment;
}

GemmKey key_of(const Product& x, int64_t m) {
  int64_t alignments = alignment_of(x.a.data);
  alignments = alignments * 512 + alignment_of(x.b.data);
  alignments = alignments * 512 + alignment_of(x.c);
  return {m,         x.n,       x.k,             x.a.ld,     x.b.ld,       x.ldc,
          x.a.trans, x.b.trans, int64_t{x.type}, alignments, x.beta != 0.0f};
}

// A product's matrices as cuBLASLt sees them, with m rows in a and c.
struct Layouts {
  Layouts(const Product& x, int64_t m)
      : first(CUDA_R_16BF, x.b.trans ? x.k : x.n, x.b.trans ? x.n : x.k, x.b.ld),
        second(CUDA_R_16BF, x.a.trans ? m : x.k, x.a.trans ? x.k : m, x.a.ld),
        result(x.type, x.n, m, x.ldc) {}
  const Layout first, second, result;
};

// cuBLASLt's first choice that fits our workspace.
GemmPlan search(const Product& x, const Description& description, const Layouts& layouts,
                CudaDevice& device) {
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CudaDevice::kBlasWorkspaceBytes);
  preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                 static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(x.b.data));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(x.a.data));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(x.c));
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(x.c));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      device.blas(), description.get(), layouts.first.get(), layouts.second.get(),
      layouts.result.get(), layouts.result.get(), preference.get(), 1, &found, &count);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0) {
    throw Error(QLORA_ERROR_DEVICE,
                "cuBLASLt has no way to multiply [" + std::to_string(x.m) + ", " +
                    std::to_string(x.k) + "] by [" + std::to_string(x.k) + ", " +
                    std::to_string(x.n) + "]: " + cublasLtGetStatusString(status));
  }
  return {found.algo, found.workspaceSize};
}

// The number of rows a search is made for. Micro-batches differ in length from step to step, and a
// search for each product of each length would leave the GPU waiting: many rows share the choice for
// the next multiple of 128.
int64_t searched_rows(int64_t m) { return m <= 1024 ? m : (m + 127) / 128 * 128; }

// A choice depends on the product alone, never on which products came before it.
GemmPlan plan_of(const Product& x, const Description& description, const Layouts& layouts,
                 CudaDevice& device) {
  const int64_t rows = searched_rows(x.m);
  if (rows == x.m || x.a.trans) return search(x, description, layouts, device);
  std::map<GemmKey, GemmPlan>& searches = device.gemm_plans().searches;
  const GemmKey key = key_of(x, rows);
  auto found = searches.find(key);
  if (found == searches.end()) {
    if (searches.size() >= kMostPlans) searches.clear();
    found = searches.emplace(key, search(x, description, Layouts(x, rows), device)).first;
  }
  cublasLtMatmulHeuristicResult_t checked{};
  const cublasStatus_t status = cublasLtMatmulAlgoCheck(
      device.blas(), description.get(), layouts.first.get(), layouts.second.get(),
      layouts.result.get(), layouts.result.get(), &found->second.algorithm, &checked);
  if (status != CUBLAS_STATUS_SUCCESS || checked.workspaceSize > CudaDevice::kBlasWorkspaceBytes) {
    return search(x, description, layouts, device);
  }
  return {found->second.algorithm, checked.workspaceSize};
}

void product(const Product& x, CudaDevice& device) {
  if (x.m <= 0 || x.n <= 0) return;
  if (x.k <= 0) throw Error(QLORA_ERROR_INTERNAL, "gemm: k must be positive");
  const Description description(x.b.trans, x.a.trans);
  const Layouts layouts(x, x.m);

  std::map<GemmKey, GemmPlan>& plans = device.gemm_plans().plans;
  const GemmKey key = key_of(x, x.m);
  auto plan = plans.find(key);
  if (plan == plans.end()) {
    if (plans.size() >= kMostPlans) plans.clear();
    plan = plans.emplace(key, plan_of(x, description, layouts, device)).first;
  }
  const cublasStatus_t status = cublasLtMatmul(
      device.blas(), description.get(), &x.alpha, x.b.data, layouts.first.get(), x.a.data,
      layouts.second.get(), &x.beta, x.c, layouts.result.get(), x.c, layouts.result.get(),
      &plan->second.algorithm, device.blas_workspace(), plan->second.workspace_bytes,
      device.stream());
  if (status != CUBLAS_STATUS_SUCCESS) device.synchronize();  // an earlier kernel's error says more
  check_blas(status, "the product");
}

}  // namespace
}  // namespace cuda

void ops::gemm(act_t* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
               int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
               Device& d) {
  cuda::product({c, ldc, CUDA_R_16BF, {a, lda, trans_a}, {b, ldb, trans_b}, m, n, k, alpha, beta},
                cuda::cuda_device(d));
}

void ops::gemm_f32(float* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
                   int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   float beta, Device& d) {
  cuda::product({c, ldc, CUDA_R_32F, {a, lda, trans_a}, {b, ldb, trans_b}, m, n, k, alpha, beta},
                cuda::cuda_device(d));
}

}  // namespace qlora
