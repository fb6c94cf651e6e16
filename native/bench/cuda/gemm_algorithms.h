// cuBLASLt's choices for the products of the 8B model, each timed: what a fixed rule of preference
// in gemm.cpp could gain over taking the first.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <string>

namespace bench {

// "128x256 cluster 2x1": tile and cluster, in cuBLASLt's terms, and how k is split if it is.
std::string choice_name(const cublasLtMatmulAlgo_t& algorithm);

// For tokens rows, or for several numbers of rows where tokens is 0.
void gemm_algorithms(int64_t tokens);

}  // namespace bench
