// What cuBLASLt chose for each product seen so far: the search costs more than a small product.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <map>

namespace qlora {
namespace cuda {

// Everything the choice depends on: sizes, leading dimensions, transposes, types, alignments, beta.
using GemmKey = std::array<int64_t, 11>;

struct GemmPlan {
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace_bytes;
};

struct GemmPlans {
  std::map<GemmKey, GemmPlan> plans;     // by the product as it is
  std::map<GemmKey, GemmPlan> searches;  // by the product with its rows rounded up
};

}  // namespace cuda
}  // namespace qlora
