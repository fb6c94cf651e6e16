// XXH64 (Yann Collet's 64-bit hash, seed 0): finds damaged bytes at memory speed. Not cryptographic.
#pragma once

#include <cstdint>

namespace qlora {

uint64_t checksum(const void* data, int64_t bytes);

}  // namespace qlora
