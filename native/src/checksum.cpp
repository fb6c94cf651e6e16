// After the format's public description (XXH64, seed 0): four lanes of 8 bytes, each
// lane = rotl(lane + word · P2, 31) · P1; the lanes joined; the last bytes one by one; an
// avalanche.
#include "checksum.h"

#include <cstring>

namespace qlora {

namespace {

constexpr uint64_t kP1 = 0x9E3779B185EBCA87u;
constexpr uint64_t kP2 = 0xC2B2AE3D27D4EB4Fu;
constexpr uint64_t kP3 = 0x165667B19E3779F9u;
constexpr uint64_t kP4 = 0x85EBCA77C2B2AE63u;
constexpr uint64_t kP5 = 0x27D4EB2F165667C5u;

uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

template <class T>
T little_endian(const unsigned char* at) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = static_cast<T>(value << 8 | at[i]);
  return value;
}

uint64_t round_of(uint64_t lane, uint64_t word) { return rotate(lane + word * kP2, 31) * kP1; }

uint64_t join(uint64_t hash, uint64_t lane) { return (hash ^ round_of(0, lane)) * kP1 + kP4; }

}  // namespace

uint64_t checksum(const void* data, int64_t bytes) {
  const unsigned char* at = static_cast<const unsigned char*>(data);
  int64_t left = bytes;
  uint64_t hash = kP5;
  if (left >= 32) {
    uint64_t lanes[4] = {kP1 + kP2, kP2, 0, uint64_t{0} - kP1};
    for (; left >= 32; left -= 32, at += 32) {
      for (int i = 0; i < 4; ++i)
        lanes[i] = round_of(lanes[i], little_endian<uint64_t>(at + 8 * i));
    }
    hash = rotate(lanes[0], 1) + rotate(lanes[1], 7) + rotate(lanes[2], 12) + rotate(lanes[3], 18);
    for (const uint64_t lane : lanes) hash = join(hash, lane);
  }
  hash += static_cast<uint64_t>(bytes);
  for (; left >= 8; left -= 8, at += 8) {
    hash = rotate(hash ^ round_of(0, little_endian<uint64_t>(at)), 27) * kP1 + kP4;
  }
  if (left >= 4) {
    hash = rotate(hash ^ little_endian<uint32_t>(at) * kP1, 23) * kP2 + kP3;
    left -= 4;
    at += 4;
  }
  for (; left > 0; --left, ++at) hash = rotate(hash ^ *at * kP5, 11) * kP1;
  hash = (hash ^ hash >> 33) * kP2;
  hash = (hash ^ hash >> 29) * kP3;
  return hash ^ hash >> 32;
}

}  // namespace qlora
