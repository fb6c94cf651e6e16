// Chooses the kernels for this machine.
#include "kernels.h"

#include "isa.h"

namespace qlora {
namespace cpu {

const Kernels& kernels_baseline();
#if defined(QLORA_X86_KERNELS)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
#endif

const Kernels& kernels() {
#if defined(QLORA_X86_KERNELS)
  if (isa() == Isa::kAvx512) return kernels_avx512();
  if (isa() == Isa::kAvx2) return kernels_avx2();
#endif
  return kernels_baseline();
}

}  // namespace cpu
}  // namespace qlora
