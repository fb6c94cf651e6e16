// Products of few rows with NF4 weights, for linear_decode and linear_group_decode.
#pragma once

#include "cuda_device.h"
#include "ops.h"

namespace qlora {
namespace cuda {

// Whether the tiled kernels take this weight and these rows; else linear_decode's own do.
bool nf4_tiled(const ops::Weight& w, const act_t* x, int64_t ldx);

// y [m, …] = x · Wᵀ + u · sBᵀ over the parts of the group, all nf4_tiled; u = x · Aᵀ has room in the
// columns of x from the weights' `in` on.
void nf4_group_product(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                       const ops::DecodeGroup& group, CudaDevice& device);
// y [m, out] = x · Wᵀ + beta · y.
void nf4_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::Weight& w, float beta, CudaDevice& device);
void nf4_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                 const ops::Weight& w, float beta, CudaDevice& device);

// Its kernels. Behind project, up to kNarrowRows rows of x, and more. signal: project's; null where
// no part has a rank.
constexpr int kNarrowRows = 4;
void nf4_narrow_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, float beta, DecodeSignal* signal,
                        CudaDevice& device);
void nf4_narrow_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, float beta, DecodeSignal* signal,
                        CudaDevice& device);
void nf4_wide_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device);
void nf4_wide_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device);
// More than kNarrowRows rows on Hopper (can_run_hopper), U included: in u [m, R], x's columns behind
// the weights' `in`, or nowhere. u null: no part has a rank.
void nf4_hopper_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device);
void nf4_hopper_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device);

// u [m, R] = x [m, in] · aᵀ for a plain `a` of few rows: `in` is split over blocks. in % 32 == 0;
// rows of x and a begin on 16 bytes. A row has the same bits whatever m is. signal: of the
// nf4_narrow_product that is launched next and does not wait for u; null: there is none.
void project(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int64_t m, const act_t* a,
             int64_t R, int64_t in, DecodeSignal* signal, CudaDevice& device);

}  // namespace cuda
}  // namespace qlora
