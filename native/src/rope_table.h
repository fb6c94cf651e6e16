// The rotation angles of rotary position embeddings, with Llama 3's frequency scaling.
//   inv_i = theta^(−2i/D), i < D/2;  cos, sin of position · inv_i.
// llama3: λ = 2π/inv. λ > original/low: inv/factor; λ < original/high: inv; between them
// s = (original/λ − low)/(high − low), inv = (1−s)·inv/factor + s·inv.
#pragma once

#include <cstdint>
#include <vector>

#include "architecture.h"

namespace qlora {

// (D/2) in fp32, as transformers keeps them.
std::vector<float> rope_inverse_frequencies(const Architecture& arch);

// cos, sin: [count, D/2] for positions [first, first + count). Angles are rounded to fp32 first, as
// transformers does.
void rope_table(std::vector<float>& cos, std::vector<float>& sin,
                const std::vector<float>& inverse_frequencies, int64_t first, int64_t count);

}  // namespace qlora
