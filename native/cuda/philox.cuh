// Philox4x32-10, the counter-based generator of Salmon et al. 2011, as in cpu/philox.h.
#pragma once

#include <cstdint>

namespace qlora {
namespace cuda {

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

struct PhiloxWords {
  uint32_t word[4];
};

// The products in 64 bits: one instruction gives both halves.
__device__ inline void philox_round(uint32_t c[4], uint32_t k0, uint32_t k1) {
  const uint64_t p0 = uint64_t{kPhiloxM0} * c[0], p1 = uint64_t{kPhiloxM1} * c[2];
  c[0] = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0;
  c[1] = static_cast<uint32_t>(p1);
  c[2] = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1;
  c[3] = static_cast<uint32_t>(p0);
}

__device__ inline PhiloxWords philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                                     uint32_t k0, uint32_t k1) {
  PhiloxWords x = {{c0, c1, c2, c3}};
#pragma unroll
  for (int round = 0; round < kPhiloxRounds; ++round) {
    philox_round(x.word, k0, k1);
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return x;
}

}  // namespace cuda
}  // namespace qlora
