// linear_group_decode: the linears of a group for few rows of x, straight from NF4:
//   U = x · Aᵀ,  y_p = x · W_pᵀ + U_p · sB_pᵀ for every part p
// U by project.cu, the parts in one launch by nf4_decode_narrow.cu (up to kNarrowRows rows of x) or
// nf4_decode_wide.cu; on Hopper U and the parts of more rows in one by nf4_decode_hopper.cu. A row of
// y has the same bits in any company inside each of the kernels; between few and more rows the order
// of the sums differs.
#include "common.cuh"
#include "nf4.cuh"
#include "nf4_decode.h"

namespace qlora {
namespace cuda {

bool nf4_tiled(const ops::Weight& w, const act_t* x, int64_t ldx) {
  return w.packed != nullptr && w.in % kNf4Block == 0 && w.out * (w.in / kNf4Block) <= INT32_MAX &&
         rows_aligned(w.packed, 16) && rows_aligned(x, ldx);
}

namespace {

// Which kernel is taken depends on all rows.
template <class Y>
void product(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
             const ops::DecodeGroup& group, float beta, DecodeSignal* signal, CudaDevice& device) {
  if (m <= kNarrowRows) {
    nf4_narrow_product(y, ldy, x, ldx, m, group, beta, signal, device);
  } else if (can_run_hopper(device)) {
    nf4_hopper_product(y, ldy, x, ldx, m, group, nullptr, beta, device);
  } else {
    nf4_wide_product(y, ldy, x, ldx, m, group, beta, device);
  }
}

ops::DecodeGroup group_of(const ops::Weight& w) {
  ops::DecodeGroup group;
  group.num_parts = 1;
  group.parts[0].w = w;
  return group;
}

}  // namespace

void nf4_group_product(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                       const ops::DecodeGroup& group, CudaDevice& device) {
  const int64_t in = group.parts[0].w.in;
  if (m > kNarrowRows && can_run_hopper(device)) {
    nf4_hopper_product(y, ldy, x, ldx, m, group, group.rank > 0 ? x + in : nullptr, 0.0f, device);
    return;
  }
  DecodeSignal* signal = nullptr;
  if (group.rank > 0) {
    if (m <= kNarrowRows) signal = device.next_signal();
    project(x + in, ldx, x, ldx, m, group.a, group.rank, in, signal, device);
  }
  product(y, ldy, x, ldx, m, group, 0.0f, signal, device);
}

void nf4_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::Weight& w, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group_of(w), beta, nullptr, device);
}

void nf4_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::Weight& w, float beta, CudaDevice& device) {
  product(y, ldy, x, ldx, m, group_of(w), beta, nullptr, device);
}

}  // namespace cuda

void ops::linear_group_decode(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                              const DecodeGroup& group, Device& d) {
  using namespace cuda;
  if (m == 0) return;
  CudaDevice& device = cuda_device(d);
  const int64_t in = group.parts[0].w.in;
  bool tiled = group.rank == 0 || rows_aligned(group.a, in);
  for (int p = 0; p < group.num_parts; ++p) {
    tiled = tiled && nf4_tiled(group.parts[p].w, x, ldx);
  }
  if (tiled) {
    nf4_group_product(y, ldy, x, ldx, m, group, device);
    return;
  }
  const auto plain = [](const act_t* w, int64_t out, int64_t columns) {
    Weight weight;
    weight.out = out;
    weight.in = weight.ld = columns;
    weight.plain = w;
    return weight;
  };
  if (group.rank > 0) {
    linear_decode(x + in, ldx, x, ldx, m, plain(group.a, group.rank, in), 0.0f, d);
  }
  for (int p = 0; p < group.num_parts; ++p) {
    const DecodePart& part = group.parts[p];
    linear_decode(y + part.first, ldy, x, ldx, m, part.w, 0.0f, d);
    if (part.rank == 0) continue;
    linear_decode(y + part.first, ldy, x + in + part.rank_offset, ldx, m,
                  plain(part.scaled_b, part.w.out, part.rank), 1.0f, d);
  }
}

}  // namespace qlora
