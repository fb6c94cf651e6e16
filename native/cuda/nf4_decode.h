// Products of few rows with NF4 weights, for linear_decode and linear_group_decode.
#pragma once

#include "cuda_device.h"
#include "ops.h"

namespace qlora {
namespace cuda {

// Whether the tiled kernels take this weight and these rows; else linear_decode's own do.
bool nf4_tiled(const ops::Weight& w, const act_t* x, int64_t ldx);

// y [m, …] = x · Wᵀ + u · sBᵀ + beta · y over the parts of the group, all nf4_tiled, by one of
// three kernels.
//
// Up to kNarrowRows rows of x: all that linear_group_decode does, where nf4_narrow_takes says so. x
// is only read.
constexpr int kNarrowRows = 4;
bool nf4_narrow_takes(int64_t m, const ops::DecodeGroup& group, CudaDevice& device);
// Whether with its norm, where it has one; else that must have been done.
bool nf4_narrow_normalises(int64_t m, const ops::DecodeGroup& group, CudaDevice& device);
void nf4_narrow_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, CudaDevice& device);
void nf4_narrow_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, CudaDevice& device);
// Any number of rows. u: the columns of x from the weights' `in` on, read only where a part has a
// rank. The group's norm and pair are not looked at.
void nf4_wide_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device);
void nf4_wide_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                      const ops::DecodeGroup& group, float beta, CudaDevice& device);

// The same on Hopper (can_run_hopper), faster; where u is not null, x's columns from `in` on, U is
// computed as well: u [m, R] = x · aᵀ.
void nf4_hopper_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device);
void nf4_hopper_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, act_t* u, float beta, CudaDevice& device);

// u [m, R] = x [m, in] · aᵀ for a plain `a` of few rows: `in` is split over blocks. in % 32 == 0;
// rows of x and a begin on 16 bytes. A row has the same bits whatever m is.
void project(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, int64_t m, const act_t* a,
             int64_t R, int64_t in, CudaDevice& device);

}  // namespace cuda
}  // namespace qlora
