// Products of up to kNarrowRows rows of x with NF4 weights, for a whole group in one launch:
//   y_p = x · W_pᵀ + U_p · sB_pᵀ for every part p
// Nothing but W is large, so the floor is its bytes over the memory bandwidth: 4.125 bit a weight
// when double-quantised, 3.6 GB for the layers of the 8B, 0.85 ms at 4.26 TB/s.
//
// The products are mma.m16n8k16 with w as a and x as b. The order of k inside a product is free, so
// a lane takes neighbouring k and loads them in one access. Eight warps share 16 rows of w, each
// takes every eighth run of 128 columns, 16 bytes a lane and row. Such a run is two blocks of 64,
// one in the lanes t = 0, 1, the other in t = 2, 3; columns 0 … 3 of b hold x for the first and
// zeros for the second, columns 4 … 7 the reverse, so that each block's product comes out by
// itself, in the lanes that know its absmax.
#include <algorithm>

#include "common.cuh"
#include "decode_signal.cuh"
#include "mma.cuh"
#include "nf4_decode.h"
#include "nf4_lookup.cuh"

namespace qlora {
namespace cuda {
namespace {

// Σ b[r] · u[r], r < rank.
__device__ inline float lora_dot(const act_t* b, const act_t* u, int rank) {
  float sum = 0.0f;
  const bool aligned = (reinterpret_cast<uintptr_t>(b) | reinterpret_cast<uintptr_t>(u)) % 16 == 0;
  for (int r = 0; r < rank; r += 8) {
    const Float8 left = aligned ? load_row8<true>(b, r, rank) : load_first8(b + r, rank - r);
    const Float8 right = aligned ? load_row8<true>(u, r, rank) : load_first8(u + r, rank - r);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum = fmaf(left.v[i], right.v[i], sum);
  }
  return sum;
}

constexpr int kTeamWarps = 8;  // share a tile of w
constexpr int kTeams = 2;      // a block
constexpr int kNarrowBlock = kTeams * kTeamWarps * kWarp;
constexpr int kAhead = 3;  // runs loaded before they are used
constexpr int kTeamSums = kTeamWarps * kNarrowRows * kTile;
constexpr int kTeamsBytes = kTeams * 2 * kTeamSums * static_cast<int>(sizeof(float));
constexpr int kNarrowBytes = kTableRoom + kTeamsBytes;  // and x, where it fits
static_assert(kTeamsBytes >= kStagingBytes, "the table is made there");

// Rows of x in shared memory lie this far apart beyond their columns, in different banks.
constexpr int kXGap = 8;

// 32 columns of a row of x.
struct XColumns {
  uint4 v[4];
};
// Lanes that hold no x keep what they have and take no part of shared memory's time.
__device__ inline void load_shared(XColumns& x, uint32_t address, bool holds_x) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "setp.ne.u32 p, %5, 0;\n"
        "@p ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];\n"
        "}"
        : "+r"(x.v[i].x), "+r"(x.v[i].y), "+r"(x.v[i].z), "+r"(x.v[i].w)
        : "r"(address + 16 * i), "r"(static_cast<uint32_t>(holds_x)));
  }
}

// sums += the piece's products, times kCodeScale.
template <bool kNested>
__device__ inline void multiply_piece(float sums[4], const NarrowPiece& piece, const XColumns& x,
                                      float offset, uint32_t lane) {
  const uint32_t low[4] = {piece.low.x, piece.low.y, piece.low.z, piece.low.w};
  const uint32_t high[4] = {piece.high.x, piece.high.y, piece.high.z, piece.high.w};
  float own = piece.value;
  if constexpr (kNested) own = __fadd_rn(__fmul_rn(look_up_map(piece.code, lane), own), offset);
  float even[4] = {}, odd[4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t first[4] = {look_up<0>(low[i], lane), look_up<0>(high[i], lane),
                               look_up<1>(low[i], lane), look_up<1>(high[i], lane)};
    const uint32_t second[4] = {look_up<2>(low[i], lane), look_up<2>(high[i], lane),
                                look_up<3>(low[i], lane), look_up<3>(high[i], lane)};
    mma(even, first, x.v[i].x, x.v[i].y);
    mma(odd, second, x.v[i].z, x.v[i].w);
  }
  const float other = __shfl_xor_sync(kAllLanes, own, 1);
  const bool is_odd = threadIdx.x % 2 != 0;
  const float row_g = is_odd ? other : own, row_g8 = is_odd ? own : other;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[i] = fmaf(even[i] + odd[i], i < 2 ? row_g : row_g8, sums[i]);
  }
}

__device__ inline void team_barrier(int team) {
  asm volatile("bar.sync %0, %1;" ::"r"(team + 1), "n"(kTeamWarps * kWarp) : "memory");
}

__device__ inline void prefetch_tile_b(const PackedGroup& w, int tile, int lane) {
  const PackedPart& part = w.part[part_of(w, tile)];
  if (lane < kTile) prefetch_b(part, (tile - part.first_unit) * kTile + lane);
}

// kFits: x lies in shared memory.
template <bool kNested, bool kFits, class Y>
__global__ void __launch_bounds__(kNarrowBlock, 1)
    narrow_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, PackedGroup w, float beta,
                  DecodeSignal* signal, DynamicMap dynamic) {
  extern __shared__ __align__(256) uint8_t shared[];
  let_next_begin();
  uint8_t* const table = table_of(shared);
  const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int warp = threadIdx.x / kWarp % kTeamWarps, team = threadIdx.x / kWarp / kTeamWarps;
  float* const team_sums = reinterpret_cast<float*>(table + kTableBytes) + team * 2 * kTeamSums;
  act_t* const x_shared = reinterpret_cast<act_t*>(table + kTableBytes + kTeamsBytes);
  const int step = kTeams * static_cast<int>(gridDim.x);
  int tile = team * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  // Of a warp and tile. Blocks behind a row's last are that one again, with zeros for x.
  const int runs = ((w.blocks + 1) / 2 + kTeamWarps - 1) / kTeamWarps;
  const int first_block = 2 * warp + t / 2, last_block = w.blocks - 1;
  const auto block_of = [&](int run) { return first_block + run * (2 * kTeamWarps); };

  NarrowPiece pieces[kAhead] = {};
  NarrowTile<kNested> now = {}, next = {};
  if (tile < w.units) {
    now.enter(w, tile, g, t);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (i < runs) now.load(pieces[i], min(block_of(i), last_block));
    }
    if (warp == 0) prefetch_tile_b(w, tile, lane);
  }
  fill_table(table, reinterpret_cast<uint2*>(table + kTableBytes), dynamic);
  if (signal != nullptr) {
    await_x(signal);
  } else {
    await_previous();
  }
  const int x_ld = w.in + kXGap;
  if constexpr (kFits) {
    for (int n = 0; n < m; ++n) {
      for (int i = threadIdx.x; i < w.in / 8; i += kNarrowBlock) {
        copy16_async(x_shared + n * x_ld + i * 8, x + n * ldx + i * 8, true);
      }
    }
    copies_commit();
    copies_wait<0>();
  }
  __syncthreads();

  const uint32_t lane_at = lane_address(table);
  const int n = g % 4;  // row of x
  const bool holds_x = (g < 4) == (t < 2) && n < m;
  const int x_column = t % 2 * 32;  // in the block
  const uint32_t x_at = shared_address(x_shared + n * x_ld + x_column);
  const act_t* const x_row = x + n * ldx + x_column;
  XColumns of_x = {};
  for (int turn = 0; tile < w.units; ++turn) {
    const bool more = tile + step < w.units;
    if (more) {
      next.enter(w, tile + step, g, t);
      if (warp == 0) prefetch_tile_b(w, tile + step, lane);
    }
    float sums[4] = {};
#pragma unroll 1
    for (int first = 0; first < runs; first += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i >= runs) break;
        const int block = block_of(first + i);
        const bool takes_x = holds_x && block <= last_block;
        if (block > last_block) of_x = {};
        if constexpr (kFits) {
          constexpr int kBytes = kBlockValues * int{sizeof(act_t)};
          load_shared(of_x, x_at + block * kBytes, takes_x);
        } else {
#pragma unroll
          for (int j = 0; takes_x && j < 4; ++j) {
            of_x.v[j] = reinterpret_cast<const uint4*>(x_row + block * kBlockValues)[j];
          }
        }
        multiply_piece<kNested>(sums, pieces[i], of_x, now.offset, lane_at);
        if (first + i + kAhead < runs) {
          now.load(pieces[i], min(block_of(first + i + kAhead), last_block));
        } else if (more) {
          next.load(pieces[i], min(block_of(i), last_block));
        }
      }
    }

    // The tile is done: both blocks of each run, then the warps, in their order.
    float* const scratch = team_sums + turn % 2 * kTeamSums;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float sum = sums[j] + __shfl_xor_sync(kAllLanes, sums[j], 2);
      if (t < 2) scratch[(warp * kNarrowRows + 2 * t + j % 2) * kTile + g + j / 2 * 8] = sum;
    }
    team_barrier(team);
    if (turn == 0 && signal != nullptr) await_previous();  // U is there
    // Other warps finish every turn.
    const int item = (static_cast<int>(threadIdx.x) + turn * 2 * kWarp) % (kTeamWarps * kWarp);
    const PackedPart& part = w.part[part_of(w, tile)];
    const int row = (tile - part.first_unit) * kTile + item % kTile, of = item / kTile;
    if (of < m && row < part.out) {
      float sum = scratch[item];
#pragma unroll
      for (int j = 1; j < kTeamWarps; ++j) sum += scratch[j * kNarrowRows * kTile + item];
      sum *= 1.0f / kCodeScale;
      if (part.rank > 0) {
        const act_t* const u = x + of * ldx + w.in + part.rank_offset;
        sum += lora_dot(part.b + int64_t{row} * part.rank, u, part.rank);
      }
      Y* const to = y + of * ldy + part.first + row;
      *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
    }
    tile += step;
    now = next;
  }
  if (signal != nullptr) {
    __syncthreads();  // thread 0 has looked at the signal
    if (threadIdx.x == 0) finish_with(signal);
  }
}

template <bool kNested, class Y>
void launch_narrow(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m,
                   const ops::DecodeGroup& group, float beta, DecodeSignal* signal,
                   CudaDevice& device) {
  const PackedGroup w = packed_group(group, kTile);
  const int with_x = kNarrowBytes + m * (w.in + kXGap) * static_cast<int>(sizeof(act_t));
  const bool fits = with_x <= device.max_shared_bytes();
  const auto kernel = fits ? narrow_kernel<kNested, true, Y> : narrow_kernel<kNested, false, Y>;
  const int bytes = fits ? with_x : kNarrowBytes;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "linear_group_decode: shared memory");
  const unsigned blocks = static_cast<unsigned>(std::min(w.units, device.sm_count()));
  launch_early(kernel, blocks, kNarrowBlock, bytes, device, y, ldy, x, ldx, m, w, beta, signal,
               dynamic_map());
  check_launch("linear_group_decode, few rows");
}

template <class Y>
void product(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
             const ops::DecodeGroup& group, float beta, DecodeSignal* signal, CudaDevice& device) {
  const bool nested = group.parts[0].w.absmax == nullptr;
  const auto launch = nested ? launch_narrow<true, Y> : launch_narrow<false, Y>;
  launch(y, ldy, x, ldx, static_cast<int>(m), group, beta, signal, device);
}

}  // namespace

void nf4_narrow_product(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, float beta, DecodeSignal* signal,
                        CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, signal, device);
}

void nf4_narrow_product(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const ops::DecodeGroup& group, float beta, DecodeSignal* signal,
                        CudaDevice& device) {
  product(y, ldy, x, ldx, m, group, beta, signal, device);
}

}  // namespace cuda
}  // namespace qlora
