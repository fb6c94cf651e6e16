// All kernels for the instruction set of the including file, as one table.
#pragma once

#include "attention_kernels.h"
#include "gemm_kernels.h"
#include "kernels.h"

namespace qlora {
namespace cpu {
namespace {

constexpr Kernels kKernels = {kGemmKernels, kAttentionKernels};

}  // namespace
}  // namespace cpu
}  // namespace qlora
