// The kernels, compiled for AVX2 and FMA (see sources.cmake).
#include "kernels_impl.h"

namespace qlora {
namespace cpu {

const Kernels& kernels_avx2() { return kKernels; }

}  // namespace cpu
}  // namespace qlora
