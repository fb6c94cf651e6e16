// cuBLASLt's choices for the products of the 8B model, each timed: what a fixed rule of preference
// in gemm.cpp could gain over taking the first.
#pragma once

#include <cstdint>

namespace bench {

// For tokens rows, or for several numbers of rows where tokens is 0.
void gemm_algorithms(int64_t tokens);

}  // namespace bench
