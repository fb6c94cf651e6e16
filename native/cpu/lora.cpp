// LoRA beside the base product (formulas in ops.h), from dropout and products.
//   lora_down_forward    U = drop(X)·Aᵀ
//   lora_input_backward  dA += dUᵀ·drop(X),  dX += drop'(dU·A)
//   lora_b_backward      dB_p += s·dY_pᵀ·U_p
// drop(X), and then dU·A, exist for some tokens at a time.
#include <algorithm>

#include "cpu_device.h"
#include "dropout.h"

namespace qlora {
namespace {

constexpr int64_t kPieceBytes = int64_t{16} << 20;  // of drop(X) at a time
constexpr int64_t kLeastRows = 64;                  // that make a product worth its packing

// body(first, rows, piece [rows, in]) for pieces of the tokens.
template <class Body>
void for_pieces(int64_t T, int64_t in, cpu::CpuDevice& device, const Body& body) {
  const int64_t row_bytes = in * int64_t{sizeof(act_t)};
  const int64_t each = std::min(T, std::max(kLeastRows, kPieceBytes / row_bytes));
  act_t* const piece = device.op_scratch(static_cast<size_t>(each * row_bytes));
  for (int64_t first = 0; first < T; first += each) body(first, std::min(each, T - first), piece);
}

}  // namespace

void ops::lora_down_forward(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, const act_t* a,
                            int64_t T, int64_t in, int64_t R, const DropoutSite* dropout,
                            Device& d) {
  if (T <= 0 || R <= 0) return;
  if (dropout == nullptr) {
    gemm(u, ldu, x, ldx, false, a, in, true, T, R, in, 1.0f, 0.0f, d);
    return;
  }
  cpu::CpuDevice& device = cpu::cpu_device(d);
  for_pieces(T, in, device, [&](int64_t first, int64_t rows, act_t* piece) {
    cpu::drop_rows(piece, in, x + first * ldx, ldx, first, rows, in, *dropout, false, device);
    gemm(u + first * ldu, ldu, piece, in, false, a, in, true, rows, R, in, 1.0f, 0.0f, d);
  });
}

void ops::lora_input_backward(float* da, act_t* dx, int64_t lddx, const act_t* du, int64_t lddu,
                              const act_t* x, int64_t ldx, const act_t* a, int64_t T, int64_t in,
                              int64_t R, const DropoutSite* dropout, Device& d) {
  if (T <= 0 || R <= 0) return;
  if (dropout == nullptr) {
    gemm_f32(da, in, du, lddu, true, x, ldx, false, R, in, T, 1.0f, 1.0f, d);
    if (dx == nullptr) return;
    gemm(dx, lddx, du, lddu, false, a, in, false, T, in, R, 1.0f, 1.0f, d);
    return;
  }
  cpu::CpuDevice& device = cpu::cpu_device(d);
  for_pieces(T, in, device, [&](int64_t first, int64_t rows, act_t* piece) {
    const act_t* const du_rows = du + first * lddu;
    cpu::drop_rows(piece, in, x + first * ldx, ldx, first, rows, in, *dropout, false, device);
    gemm_f32(da, in, du_rows, lddu, true, piece, in, false, R, in, rows, 1.0f, 1.0f, d);
    if (dx == nullptr) return;
    gemm(piece, in, du_rows, lddu, false, a, in, false, rows, in, R, 1.0f, 0.0f, d);
    cpu::drop_rows(dx + first * lddx, lddx, piece, in, first, rows, in, *dropout, true, device);
  });
}

void ops::lora_b_backward(const LoraPart* parts_host, int num_parts, const act_t* dy, int64_t lddy,
                          const act_t* u, int64_t ldu, int64_t T, float scale, Device& d) {
  if (T <= 0) return;
  for (int p = 0; p < num_parts; ++p) {
    const LoraPart& part = parts_host[p];
    if (part.rank == 0) continue;
    gemm_f32(part.db, part.rank, dy + part.out_begin, lddy, true, u + part.rank_begin, ldu, false,
             part.out, part.rank, T, scale, 1.0f, d);
  }
}

}  // namespace qlora
