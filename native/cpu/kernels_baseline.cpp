// The kernels, compiled for the least this processor family has: SSE2, NEON or plain C++.
#include "kernels_impl.h"

namespace qlora {
namespace cpu {

const Kernels& kernels_baseline() { return kKernels; }

}  // namespace cpu
}  // namespace qlora
