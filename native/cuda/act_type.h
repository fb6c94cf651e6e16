// The CUDA build keeps activations in bf16; every sum, norm, softmax and loss is fp32 or wider.
#pragma once

#include <cuda_bf16.h>

namespace qlora {
using act_t = __nv_bfloat16;
}  // namespace qlora
