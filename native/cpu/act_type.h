// The CPU build computes in fp32 throughout: it is the reference the CUDA build is tested against.
#pragma once

namespace qlora {
using act_t = float;
}  // namespace qlora
