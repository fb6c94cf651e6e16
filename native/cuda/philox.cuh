// Philox4x32-10, the counter-based generator of Salmon et al. 2011, as in cpu/philox.h.
#pragma once

#include <cstdint>

namespace qlora {
namespace cuda {

struct PhiloxWords {
  uint32_t word[4];
};

__device__ inline PhiloxWords philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                     uint32_t k0, uint32_t k1) {
  constexpr uint32_t kM0 = 0xD2511F53u, kM1 = 0xCD9E8D57u;
  constexpr uint32_t kW0 = 0x9E3779B9u, kW1 = 0xBB67AE85u;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(kM0, c0), high1 = __umulhi(kM1, c2);
    const uint32_t low0 = kM0 * c0, low1 = kM1 * c2;
    c0 = high1 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low1;
    c3 = low0;
    k0 += kW0;
    k1 += kW1;
  }
  return {{c0, c1, c2, c3}};
}

}  // namespace cuda
}  // namespace qlora
