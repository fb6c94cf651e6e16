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
    gradient.T = static_cast<int>(T);
    gradient.mask = mask_of(nullptr);
    gradient.scale = scale;
    for (int p = 0; p < num_parts; ++p) {
      const LoraPart& part = parts_host[p];
      if (part.rank <= first || part.out <= 0) continue;
      GradientPart& to = gradient.parts[gradient.num_parts++];
      to.column = static_cast<int>(part.out_begin);
      to.columns = static_cast<int>(part.out);
      to.rank = static_cast<int>(part.rank_begin + first);
      to.ranks = static_cast<int>(std::min(kMostRanks, part.rank - first));
      to.out = part.db + first;
      to.rank_stride = 1;
      to.column_stride = part.rank;
    }
    const bool aligned = rows_aligned(u, ldu) && rows_aligned(dy, lddy);
    if (gradient.num_parts > 0) {
      add_gradient<false>(gradient, aligned, device, "lora_b_backward");
    }
  }
}

}  // namespace qlora
