// lora_b_backward: dB_p += s · dY_pᵀ · U_p for all parts of a group, dY read once (see
// lora_gradient.cuh).
#include "error.h"
#include "lora_gradient.cuh"

namespace qlora {

void ops::lora_b_backward(const LoraPart* parts_host, int num_parts, const act_t* dy, int64_t lddy,
                          const act_t* u, int64_t ldu, int64_t T, float scale, Device& d) {
  using namespace cuda;
  if (T <= 0) return;
  if (num_parts > kMostParts) {
    throw Error(QLORA_ERROR_INTERNAL, "lora_b_backward: expected at most " +
                                          std::to_string(kMostParts) + " parts, found " +
                                          std::to_string(num_parts));
  }
  CudaDevice& device = cuda_device(d);
  int64_t most = 0;
  for (int p = 0; p < num_parts; ++p) most = std::max(most, parts_host[p].rank);
  for (int64_t first = 0; first < most; first += kMostRanks) {
    Gradient gradient = {};
    gradient.left = u;
    gradient.ld_left = ldu;
    gradient.right = dy;
    gradient.ld_right = lddy;
    gradient.T = T;
    gradient.mask = mask_of(nullptr);
    gradient.scale = scale;
    gradient.aligned_left = rows_aligned(u, ldu);
    gradient.aligned_right = rows_aligned(dy, lddy);
    for (int p = 0; p < num_parts; ++p) {
      const LoraPart& part = parts_host[p];
      if (part.rank <= first || part.out <= 0) continue;
      gradient.parts[gradient.num_parts++] = {part.out_begin,
                                              part.out,
                                              part.rank_begin + first,
                                              std::min(kMostRanks, part.rank - first),
                                              0,
                                              part.db + first,
                                              1,
                                              part.rank};
      gradient.aligned_left = gradient.aligned_left && (part.rank_begin + first) % 8 == 0;
      gradient.aligned_right =
          gradient.aligned_right && part.out_begin % 8 == 0 && part.out % 8 == 0;
    }
    if (gradient.num_parts > 0) add_gradient<false>(gradient, device, "lora_b_backward");
  }
}

}  // namespace qlora
