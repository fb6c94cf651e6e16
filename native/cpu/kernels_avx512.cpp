// The kernels, compiled for AVX-512 (F, DQ, BW, VL) (see sources.cmake).
#include "kernels_impl.h"

namespace qlora {
namespace cpu {

const Kernels& kernels_avx512() { return kKernels; }

}  // namespace cpu
}  // namespace qlora
