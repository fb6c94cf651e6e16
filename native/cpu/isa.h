// The instruction sets the hot kernels are compiled for; the best one this machine has is chosen
// once, when the library is first used.
#pragma once

namespace qlora {
namespace cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };

// The environment variable QLORA_ISA (baseline, avx2, avx512) lowers the choice, for tests.
Isa isa();
// "avx512", "avx2", "sse2", "neon" or "scalar".
const char* isa_name();

}  // namespace cpu
}  // namespace qlora
