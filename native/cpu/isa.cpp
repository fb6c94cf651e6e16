// isa.h
#include "isa.h"

#include <cstdlib>
#include <string>

#if defined(_MSC_VER)
#include <intrin.h>
#endif

namespace qlora {
namespace cpu {
namespace {

#if defined(_MSC_VER) && defined(_M_X64)
Isa detect() {
  int leaf1[4], leaf7[4];
  __cpuid(leaf1, 1);
  const bool has_xsave = (leaf1[2] & (1 << 27)) != 0;
  const bool has_fma = (leaf1[2] & (1 << 12)) != 0;
  if (!has_xsave || !has_fma) return Isa::kBaseline;
  const unsigned long long saved = _xgetbv(0);
  __cpuidex(leaf7, 7, 0);
  const bool has_avx2 = (saved & 0x6) == 0x6 && (leaf7[1] & (1 << 5)) != 0;
  const int avx512_f_dq_bw = (1 << 16) | (1 << 17) | (1 << 30);
  const bool has_vl = leaf7[1] < 0;  // bit 31
  const bool has_avx512 =
      (saved & 0xE6) == 0xE6 && (leaf7[1] & avx512_f_dq_bw) == avx512_f_dq_bw && has_vl;
  if (has_avx2 && has_avx512) return Isa::kAvx512;
  return has_avx2 ? Isa::kAvx2 : Isa::kBaseline;
}
#elif defined(__x86_64__)
Isa detect() {
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  if (has_avx2 && has_avx512) return Isa::kAvx512;
  return has_avx2 ? Isa::kAvx2 : Isa::kBaseline;
}
#else
Isa detect() { return Isa::kBaseline; }
#endif

Isa choose() {
  const Isa best = detect();
  const char* const asked = std::getenv("QLORA_ISA");
  if (asked == nullptr) return best;
  const std::string name = asked;
  if (name == "baseline") return Isa::kBaseline;
  if (name == "avx2" && best == Isa::kAvx512) return Isa::kAvx2;
  return best;
}

}  // namespace

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* isa_name() {
  switch (isa()) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kBaseline:
      break;
  }
#if defined(__x86_64__) || defined(_M_X64)
  return "sse2";
#elif defined(__aarch64__) || defined(_M_ARM64)
  return "neon";
#else
  return "scalar";
#endif
}

}  // namespace cpu
}  // namespace qlora
