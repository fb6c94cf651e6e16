// dropout: out = mask · x / (1 − p); backward dx += mask · dout / (1 − p).
// Mask: eight 16-bit uniforms from philox(counter (column / 8, position, sequence key, step),
// key (seed_lo ^ site · 0x9E3779B9, seed_hi)), low half of word 0 first; kept where
// u16 ≥ round(p · 65536). One call of the generator decides one thread's eight columns.
#include <cmath>

#include "common.cuh"
#include "philox.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

// What all rows of one application share.
struct Mask {
  uint32_t k0, k1, step, threshold;
  float scale;
};

Mask mask_of(const ops::DropoutSite& site) {
  const double p = static_cast<double>(site.probability);
  Mask mask;
  mask.k0 = static_cast<uint32_t>(site.seed) ^ (site.site * 0x9E3779B9u);
  mask.k1 = static_cast<uint32_t>(site.seed >> 32);
  mask.step = site.step;
  mask.threshold = static_cast<uint32_t>(std::lround(p * 65536.0));
  mask.scale = static_cast<float>(1.0 / (1.0 - p));
  return mask;
}

template <bool kAligned, bool kAdd>
__global__ void dropout_kernel(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx,
                               const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                               Mask mask) {
  const int64_t c = group_column();
  if (c >= C) return;
  for (int64_t t = first_row(); t < T; t += row_stride()) {
    const Float8 in = load_row8<kAligned>(x + t * ldx, c, C);
    Float8 result;
    if (kAdd) result = load_row8<kAligned>(out + t * ld_out, c, C);
    const PhiloxWords random =
        philox(static_cast<uint32_t>(c / 8), static_cast<uint32_t>(positions[t]),
               static_cast<uint32_t>(keys[t]), mask.step, mask.k0, mask.k1);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint32_t uniform = random.word[i / 2] >> (i % 2 * 16) & 0xffffu;
      const float kept = uniform >= mask.threshold ? in.v[i] * mask.scale : 0.0f;
      result.v[i] = kAdd ? result.v[i] + kept : kept;
    }
    store_row8<kAligned>(out + t * ld_out, c, C, result);
  }
}

template <bool kAdd>
void drop_rows(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx, const int32_t* keys,
               const int32_t* positions, int64_t T, int64_t C, const ops::DropoutSite& site,
               CudaDevice& device) {
  if (T <= 0 || C <= 0) return;
  const RowGrid g = row_grid(T, C);
  const auto kernel = rows_aligned(out, ld_out) && rows_aligned(x, ldx)
                          ? dropout_kernel<true, kAdd>
                          : dropout_kernel<false, kAdd>;
  kernel<<<g.grid, g.block, 0, device.stream()>>>(out, ld_out, x, ldx, keys, positions, T, C,
                                                  mask_of(site));
  check_launch("dropout");
}

}  // namespace
}  // namespace cuda

void ops::dropout_forward(act_t* out, int64_t ld_out, const act_t* x, int64_t ldx,
                          const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                          const DropoutSite& site, Device& d) {
  cuda::drop_rows<false>(out, ld_out, x, ldx, keys, positions, T, C, site, cuda::cuda_device(d));
}

void ops::dropout_backward(act_t* dx, int64_t ldx, const act_t* dout, int64_t ld_out,
                           const int32_t* keys, const int32_t* positions, int64_t T, int64_t C,
                           const DropoutSite& site, Device& d) {
  cuda::drop_rows<true>(dx, ldx, dout, ld_out, keys, positions, T, C, site, cuda::cuda_device(d));
}

}  // namespace qlora
