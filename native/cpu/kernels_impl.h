// All kernels for the instruction set of the including file, as one table.
#pragma once

#include "attention_kernels.h"
#include "gemm_kernels.h"
#include "kernels.h"
#include "row_kernels.h"

namespace qlora {
namespace cpu {
namespace {

constexpr Kernels kKernels = {kGemmKernels, kRowKernels, kAttentionKernels};

}  // namespace
}  // namespace cpu
}  // namespace qlora
