#include "gemm_algorithms.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench.h"
#include "rounds.h"

namespace bench {
namespace {

constexpr int kMostChoices = 16;

// c [m, n] = a [m, k] · b, b stored [n, k] where trans_b, else [k, n]; as ops::gemm.
struct Product {
  std::string name;
  int64_t m, n, k;
  bool trans_b;
  int64_t lda, ldb, ldc;
};

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  std::printf("cuBLASLt: %s: %s\n", what, cublasLtGetStatusString(status));
  std::exit(1);
}

int attribute(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t which) {
  uint32_t value = 0;
  size_t written = 0;
  // Some attributes are of two bytes.
  if (cublasLtMatmulAlgoConfigGetAttribute(&algorithm, which, &value, sizeof value, &written) !=
      CUBLAS_STATUS_SUCCESS) {
    uint16_t narrow = 0;
    if (cublasLtMatmulAlgoConfigGetAttribute(&algorithm, which, &narrow, sizeof narrow, &written) !=
        CUBLAS_STATUS_SUCCESS) {
      return -1;
    }
    return narrow;
  }
  return static_cast<int>(value);
}

// cuBLASLt 13's numbers of the tiles that it takes for large products; older headers lack some.
std::string tile_name(int tile) {
  struct Tile {
    int number;
    const char* name;
  };
  static const Tile tiles[] = {
      {12, "32x64"},    {14, "32x128"},   {15, "64x64"},    {17, "64x128"},   {18, "128x64"},
      {19, "64x256"},   {20, "128x128"},  {21, "256x64"},   {23, "128x256"},  {24, "256x128"},
      {26, "64x96"},    {29, "128x160"},  {30, "160x128"},  {31, "192x128"},  {32, "128x192"},
      {194, "160x192"}, {195, "160x256"}, {197, "168x128"}, {201, "176x128"}, {209, "192x192"},
      {248, "320x128"}, {412, "128x208"}, {415, "128x232"}, {417, "128x248"}, {419, "128x272"},
      {423, "128x304"}, {467, "192x176"}, {470, "192x208"}, {499, "256x136"}, {500, "256x144"},
      {501, "256x152"}, {502, "256x160"}};
  for (const Tile& known : tiles) {
    if (known.number == tile) return known.name;
  }
  return "tile " + std::to_string(tile);
}

std::string cluster_name(int cluster) {
  switch (cluster) {
    case CUBLASLT_CLUSTER_SHAPE_AUTO:
      return "auto";
    case CUBLASLT_CLUSTER_SHAPE_1x1x1:
      return "1x1";
    case CUBLASLT_CLUSTER_SHAPE_2x1x1:
      return "2x1";
    case CUBLASLT_CLUSTER_SHAPE_1x2x1:
      return "1x2";
    case CUBLASLT_CLUSTER_SHAPE_2x2x1:
      return "2x2";
    case CUBLASLT_CLUSTER_SHAPE_4x1x1:
      return "4x1";
    case CUBLASLT_CLUSTER_SHAPE_1x4x1:
      return "1x4";
    default:
      return "cluster " + std::to_string(cluster);
  }
}

// The choices for one product, in cuBLASLt's order, timed in turns: a row each, then one of the
// best.
std::string time_product(const Product& p, double ceiling) {
  const Block<act_t> a(p.m * p.lda, 1), b((p.trans_b ? p.n : p.k) * p.ldb, 2), c(p.m * p.ldc, 3);
  cublasLtMatmulDesc_t description;
  check_blas(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
  const cublasOperation_t first = p.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  check_blas(cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                            sizeof first),
             "transpose");
  cublasLtMatrixLayout_t left, right, result;
  check_blas(cublasLtMatrixLayoutCreate(&left, CUDA_R_16BF, uint64_t(p.trans_b ? p.k : p.n),
                                        uint64_t(p.trans_b ? p.n : p.k), p.ldb),
             "layout");
  check_blas(cublasLtMatrixLayoutCreate(&right, CUDA_R_16BF, uint64_t(p.k), uint64_t(p.m), p.lda),
             "layout");
  check_blas(cublasLtMatrixLayoutCreate(&result, CUDA_R_16BF, uint64_t(p.n), uint64_t(p.m), p.ldc),
             "layout");
  cublasLtMatmulPreference_t preference;
  check_blas(cublasLtMatmulPreferenceCreate(&preference), "preference");
  const size_t workspace = qlora::cuda::CudaDevice::kBlasWorkspaceBytes;
  const uint32_t reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  check_blas(
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                           &workspace, sizeof workspace),
      "workspace");
  check_blas(
      cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                           &reduction, sizeof reduction),
      "reduction");
  std::vector<cublasLtMatmulHeuristicResult_t> found(kMostChoices);
  int count = 0;
  check_blas(cublasLtMatmulAlgoGetHeuristic(device().blas(), description, left, right, result,
                                            result, preference, kMostChoices, found.data(), &count),
             "choices");
  const float alpha = 1.0f, beta = 0.0f;
  const double flops = 2.0 * double(p.m) * double(p.n) * double(p.k);
  double best_ratio = 1e9;
  std::string best_row;
  std::printf("%s: m %lld n %lld k %lld, ld %lld %lld %lld\n", p.name.c_str(),
              static_cast<long long>(p.m), static_cast<long long>(p.n), static_cast<long long>(p.k),
              static_cast<long long>(p.lda), static_cast<long long>(p.ldb),
              static_cast<long long>(p.ldc));
  std::vector<Way> ways;
  for (int i = 0; i < count; ++i) {
    const cublasLtMatmulHeuristicResult_t& choice = found[size_t(i)];
    ways.push_back({choice_name(choice.algo), [&, choice] {
                      check_blas(cublasLtMatmul(device().blas(), description, &alpha, b.data, left,
                                                a.data, right, &beta, c.data, result, c.data,
                                                result, &choice.algo, device().blas_workspace(),
                                                choice.workspaceSize, device().stream()),
                                 "product");
                    }});
  }
  const std::vector<Times> times = time_in_rounds(ways, 9, 1e-3);
  for (int i = 0; i < count; ++i) {
    const double seconds = times[size_t(i)].seconds;
    char row[240];
    std::snprintf(row, sizeof row,
                  "%2d %8.4f ms  %6.1f %% of the first's time  %6.1f TFLOP/s %5.1f %%  %5.0f MHz  "
                  "%s, workspace %.1f MB, waves %.2f",
                  i, seconds * 1e3, 100 * times[size_t(i)].of_first, flops / seconds / 1e12,
                  100 * flops / seconds / ceiling, times[size_t(i)].clock,
                  ways[size_t(i)].name.c_str(), double(found[size_t(i)].workspaceSize) / 1e6,
                  double(found[size_t(i)].wavesCount));
    std::printf("  %s\n", row);
    if (times[size_t(i)].of_first < best_ratio) {
      best_ratio = times[size_t(i)].of_first;
      best_row = row;
    }
  }
  cublasLtMatmulPreferenceDestroy(preference);
  cublasLtMatrixLayoutDestroy(left);
  cublasLtMatrixLayoutDestroy(right);
  cublasLtMatrixLayoutDestroy(result);
  cublasLtMatmulDescDestroy(description);
  char summary[400];
  std::snprintf(summary, sizeof summary, "%-34s m %5lld first %8.4f ms  best %s", p.name.c_str(),
                static_cast<long long>(p.m), times[0].seconds * 1e3, best_row.c_str());
  return summary;
}

struct Group {
  const char* name;
  int64_t out, in, rank;
};

// Forward and backward of a group with its adapter's columns behind the weight's, as the graph has
// them.
void add_products(std::vector<Product>& products, const Group& g, int64_t m) {
  const int64_t all = g.in + g.rank, ld = (all + 63) / 64 * 64;
  const std::string name = g.name;
  products.push_back({name + " forward", m, g.out, all, true, ld, ld, g.out});
  products.push_back({name + " backward", m, all, g.out, false, g.out, ld, ld});
}

}  // namespace

std::string choice_name(const cublasLtMatmulAlgo_t& algorithm) {
  std::string name = tile_name(attribute(algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID)) + " cluster " +
                     cluster_name(attribute(algorithm, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID)) +
                     " custom " +
                     std::to_string(attribute(algorithm, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION));
  const int split = attribute(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  return split == 1 ? name : name + " split " + std::to_string(split);
}

void gemm_algorithms(int64_t tokens) {
  const Group groups[] = {{"qkv", 6144, 4096, 48},
                          {"o", 4096, 4096, 16},
                          {"gate up", 28672, 4096, 32},
                          {"down", 4096, 14336, 16}};
  std::vector<int64_t> sizes = {8192, 6519, 5865, 5522, 2048, 1024};
  if (tokens > 0) sizes = {tokens};
  const int64_t square = 8192;
  double ceiling = 0;
  {
    const Block<act_t> a(square * square, 1), b(square * square, 2), c(square * square, 3);
    const double seconds = time_of([&] {
      ops::gemm(c.data, square, a.data, square, false, b.data, square, true, square, square, square,
                1.0f, 0.0f, device());
    });
    ceiling = 2.0 * double(square) * double(square) * double(square) / seconds;
    std::printf("product 8192 x 8192 x 8192: %.1f TFLOP/s\n", ceiling / 1e12);
  }
  std::vector<Product> products;
  for (const int64_t m : sizes) {
    for (const Group& group : groups) add_products(products, group, m);
  }
  std::vector<std::string> summaries;
  for (const Product& product : products) summaries.push_back(time_product(product, ceiling));
  std::printf("\nfirst and best choice\n");
  for (const std::string& summary : summaries) std::printf("%s\n", summary.c_str());
}

}  // namespace bench
