// nf4_quantize: per block of 64 values, absmax = max |v|, code = number of thresholds below
// v · (1 / absmax). A threshold is the midpoint of two neighbouring codes. In the short last block
// v is divided by absmax instead: bit for bit what bitsandbytes does on a CPU.
//
// Bound by memory only if an encoding takes few instructions: the unit interval is cut into bins so
// narrow that none holds two thresholds; a table in shared memory gives a bin's threshold and the
// code below it, so one comparison decides. Eight threads a block of 64, eight values a thread.
// Products and quotients are rounded as written.
#include <algorithm>
#include <limits>

#include "common.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr float kSmallest = 1e-38f;  // bitsandbytes divides by no less
constexpr int kTeam = 8;             // threads of one block of values
constexpr int kAhead = 2;            // groups of eight values a thread has in flight
constexpr int kGroupsAtOnce = kThreads * kAhead;
constexpr int kBlocksPerSm = 4;

// Bin k holds x with |16 (x + 1) − k| ≤ ½: 0 … 32 for x in [−1, 1]. Bins from 33 on are NaN's.
constexpr int kBins = 64;
constexpr float kBinsPerUnit = 16.0f;

struct BinTable {
  float threshold[kBins];  // codes rise above it
  uint32_t code[kBins];    // up to it
};

constexpr BinTable make_bin_table() {
  BinTable table{};
  for (int bin = 0; bin < kBins; ++bin) {
    const float begin = (bin - 0.5f) / kBinsPerUnit - 1.0f, end = begin + 1.0f / kBinsPerUnit;
    table.threshold[bin] = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 15; ++i) {
      const float threshold = (kNf4[i] + kNf4[i + 1]) / 2.0f;
      if (threshold < begin) ++table.code[bin];
      if (threshold < begin || threshold > end) continue;
      // A second threshold in one bin would leave the first without effect.
      table.threshold[bin] =
          table.threshold[bin] < threshold ? std::numeric_limits<float>::quiet_NaN() : threshold;
    }
    if (bin > 2 * kBinsPerUnit) table.code[bin] = 14;  // NaN lies above every threshold
  }
  return table;
}

constexpr bool one_threshold_a_bin(const BinTable& table) {
  for (int bin = 0; bin < kBins; ++bin) {
    if (table.threshold[bin] != table.threshold[bin]) return false;
  }
  return true;
}
constexpr BinTable kBinTable = make_bin_table();
static_assert(one_threshold_a_bin(kBinTable), "bins are too wide for NF4's codes");

// The number of thresholds below x, |x| ≤ 1 but for rounding; of NaN the last code, as a search
// through sorted thresholds gives it. Adding 2²³ leaves the nearest whole number in the low bits.
__device__ uint32_t encode(float x, const BinTable& table) {
  const float shifted = __fmaf_rn(x, kBinsPerUnit, kBinsPerUnit + 8388608.0f);
  const uint32_t bin = __float_as_uint(shifted) % kBins;
  return table.code[bin] + !(x <= table.threshold[bin]);
}

__device__ float team_max(float x) {
#pragma unroll
  for (int offset = kTeam / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, offset));
  }
  return x;
}

__device__ void load_table(BinTable& table, const BinTable& bins) {
  if (threadIdx.x < kBins) {
    table.threshold[threadIdx.x] = bins.threshold[threadIdx.x];
    table.code[threadIdx.x] = bins.code[threadIdx.x];
  }
  __syncthreads();
}

__device__ float largest_of(const Float8& x) {
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(x.v[i]));
  return team_max(largest);
}

// Four bytes; byte i: elements 2i (high nibble) and 2i + 1.
__device__ uint32_t encode_group(const Float8& unit, const BinTable& table) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    word |= encode(unit.v[i], table) << (i / 2 * 8 + (i % 2 == 0 ? 4 : 0));
  }
  return word;
}

// Whole blocks; packed 4-byte and values 16-byte aligned. Blocks of threads stay and walk.
__global__ void __launch_bounds__(kThreads, kBlocksPerSm)
    quantize_blocks_kernel(uint32_t* packed, float* absmax, const float* values, int64_t groups,
                           const __grid_constant__ BinTable bins) {
  __shared__ BinTable table;
  load_table(table, bins);
  for (int64_t begin = int64_t{blockIdx.x} * kGroupsAtOnce + threadIdx.x;
       begin - threadIdx.x < groups; begin += int64_t{gridDim.x} * kGroupsAtOnce) {
    Float8 x[kAhead] = {};
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      if (begin + a * kThreads < groups) x[a] = load8(values + (begin + a * kThreads) * 8);
    }
#pragma unroll
    for (int a = 0; a < kAhead; ++a) {
      const int64_t group = begin + a * kThreads;
      const float largest = largest_of(x[a]);
      if (group >= groups) continue;
      if (group % kTeam == 0) absmax[group / kTeam] = largest;
      const float inverse = __fdiv_rn(1.0f, fmaxf(largest, kSmallest));
#pragma unroll
      for (int i = 0; i < 8; ++i) x[a].v[i] = __fmul_rn(x[a].v[i], inverse);
      packed[group] = encode_group(x[a], table);
    }
  }
}

// Any count and alignment.
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(uint8_t* packed, float* absmax, const float* values, int64_t count,
                    const __grid_constant__ BinTable bins) {
  __shared__ BinTable table;
  load_table(table, bins);
  const int64_t block = first_item() / kTeam;
  const int64_t begin = block * kNf4Block, first = begin + threadIdx.x % kTeam * 8;
  const bool is_short = begin + kNf4Block > count;
  const int64_t left = count - first;
  Float8 x = {};  // elements behind the end are 0: they fill an odd last byte
  if (left > 0) x = load_first8(values + first, left);
  const float largest = largest_of(x);
  if (left <= 0) return;
  const float divisor = fmaxf(largest, kSmallest);
  if (first == begin) absmax[block] = is_short ? divisor : largest;

  const float inverse = __fdiv_rn(1.0f, divisor);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x.v[i] = is_short ? __fdiv_rn(x.v[i], divisor) : __fmul_rn(x.v[i], inverse);
  }
  const uint32_t word = encode_group(x, table);
  for (int64_t i = 0; i < 4 && 2 * i < left; ++i) {
    packed[first / 2 + i] = static_cast<uint8_t>(word >> (8 * i));
  }
}

}  // namespace
}  // namespace cuda

void ops::nf4_quantize(uint8_t* packed, float* absmax, const float* values, int64_t count,
                       Device& d) {
  if (count <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const bool aligned =
      cuda::rows_aligned(values, 8) && reinterpret_cast<uintptr_t>(packed) % 4 == 0;
  const int64_t blocks = aligned ? count / cuda::kNf4Block : 0, done = blocks * cuda::kNf4Block;
  if (blocks > 0) {
    const int64_t groups = blocks * cuda::kTeam;
    const unsigned grid =
        static_cast<unsigned>(std::min<int64_t>(cuda::ceil_div(groups, cuda::kGroupsAtOnce),
                                                int64_t{cuda::kBlocksPerSm} * device.sm_count()));
    cuda::quantize_blocks_kernel<<<grid, cuda::kThreads, 0, device.stream()>>>(
        reinterpret_cast<uint32_t*>(packed), absmax, values, groups, cuda::kBinTable);
    cuda::check_launch("nf4_quantize");
  }
  if (done == count) return;
  const int64_t threads = cuda::ceil_div(count - done, cuda::kNf4Block) * cuda::kTeam;
  cuda::quantize_kernel<<<static_cast<unsigned>(cuda::ceil_div(threads, cuda::kThreads)),
                          cuda::kThreads, 0, device.stream()>>>(
      packed + done / 2, absmax + blocks, values + done, count - done, cuda::kBinTable);
  cuda::check_launch("nf4_quantize");
}

}  // namespace qlora
