// NF4: sixteen quantiles of a normal distribution, scaled to [−1, 1] (QLoRA, arXiv 2305.14314), and
// the signed dynamic map that double quantisation uses.
#pragma once

#include <cstdint>

namespace qlora {
namespace cuda {

constexpr int64_t kNf4Block = 64;      // values an absmax scales
constexpr int64_t kAbsmaxBlock = 256;  // absmax values an absmax2 scales

constexpr float kNf4[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194968634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// The same for kernels, passed by value as a parameter.
struct Nf4Codes {
  float value[16];
};
inline Nf4Codes nf4_codes() {
  Nf4Codes codes;
  for (int i = 0; i < 16; ++i) codes.value[i] = kNf4[i];
  return codes;
}

// The 256 values of the signed dynamic map, ascending; passed by value as a kernel parameter.
struct DynamicMap {
  float value[256];
};
const DynamicMap& dynamic_map();  // dynamic_map.cpp

}  // namespace cuda
}  // namespace qlora
