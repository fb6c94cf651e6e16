// lora_down_forward: U [T, R] = drop(X) · Aᵀ, X read once.
//
// A block takes 64 tokens and a stretch of columns, 128 at a time: two groups of 32 tokens by four
// quarters of 32 columns, a warp each. A's 128 columns lie in shared memory in the order of the
// lanes that read them. At the end the quarters are added in order; where the columns are cut in
// parts to fill the GPU, a second kernel adds the parts in order.
//
// 2 bytes and 2R FLOPs an element of X: bound by memory, then by Philox (see dropout_mask.cuh):
// about 60 instructions for 8 elements, two thirds of what the schedulers issue while 16 bytes
// arrive.
#include "lora.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kTokens = 64, kColumns = 128;  // of a block's step
constexpr int kQuarters = 4, kWarps = 2 * kQuarters;
constexpr int kBlock = kWarps * kWarp;
constexpr int kStages = 3;
constexpr int kBlocks = 2;  // a multiprocessor has registers for
constexpr int kRows = 4;    // tokens a lane holds: g, g + 8, g + 16, g + 24 of its group

struct Down {
  act_t* u;
  int64_t ldu;
  float* partial;  // [parts, T, 8 · kTiles], or null: u is written
  const act_t* x;
  int64_t ldx;
  const act_t* a;  // [R, in]
  int64_t T, in, R;
  int64_t part_columns;  // a multiple of kColumns
  bool aligned;
  DropoutMask mask;
};

// kTiles: tiles of 8 ranks.
template <int kTiles>
struct DownStage {
  uint4 x[kRows][kBlock];
  uint4 a[kQuarters][kTiles][kWarp];
};
template <int kTiles>
union DownShared {
  DownStage<kTiles> stages[kStages];
  float sums[kQuarters][kTokens][8 * kTiles];
};

template <int kTiles>
__device__ inline void load_stage(DownStage<kTiles>& stage, const Down& d, int64_t token,
                                  int64_t column, int64_t begin) {
#pragma unroll
  for (int i = 0; i < kRows; ++i) {
    const int64_t t = token + 8 * i;
    const bool kept = t < d.T;
    stage8(&stage.x[i][threadIdx.x], d.x + (kept ? t : 0) * d.ldx, column, d.in, kept, d.aligned);
  }
  constexpr int kChunks = kColumns / 8;
#pragma unroll
  for (int i = threadIdx.x; i < 8 * kTiles * kChunks; i += kBlock) {
    const int rank = i / kChunks, chunk = i % kChunks;
    const bool kept = rank < d.R;
    stage8(&stage.a[chunk / 4][rank / 8][rank % 8 * 4 + chunk % 4], d.a + (kept ? rank : 0) * d.in,
           begin + chunk * 8, d.in, kept, d.aligned);
  }
}

template <int kTiles>
__global__ void __launch_bounds__(kBlock, kBlocks) down_kernel(const __grid_constant__ Down d) {
  extern __shared__ __align__(128) uint8_t raw[];
  DownShared<kTiles>& shared = *reinterpret_cast<DownShared<kTiles>*>(raw);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int quarter = warp % kQuarters, first_row = warp / kQuarters * 32 + lane / 4;
  const int64_t block_token = int64_t{blockIdx.x} * kTokens, token = block_token + first_row;
  const int64_t begin = blockIdx.y * d.part_columns;
  const int64_t end = begin + d.part_columns < d.in ? begin + d.part_columns : d.in;
  const int steps = static_cast<int>((end - begin + kColumns - 1) / kColumns);
  const int own = quarter * 32 + lane % 4 * 8;  // first of this lane's columns in a step

#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) {
      const int64_t first = begin + s * kColumns;
      load_stage(shared.stages[s], d, token, first + own, first);
    }
    copies_commit();
  }
  MaskRow rows[kRows] = {};
  if (d.mask.active) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int64_t t = token + 8 * i < d.T ? token + 8 * i : 0;
      rows[i] = mask_row(d.mask, d.mask.keys[t], d.mask.positions[t]);
    }
  }

  float sums[2][kTiles][4] = {};
  for (int step = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    const int64_t column = begin + int64_t{step} * kColumns + own;
    if (step + kStages - 1 < steps) {
      const int64_t ahead = int64_t{kStages - 1} * kColumns;
      load_stage(shared.stages[(step + kStages - 1) % kStages], d, token, column + ahead,
                 column - own + ahead);
    }
    copies_commit();
    const DownStage<kTiles>& stage = shared.stages[step % kStages];
    const MaskColumns columns = mask_columns(d.mask, column);
    uint4 x[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      x[i] = masked8(stage.x[i][threadIdx.x], mask_words(d.mask, rows[i], columns), d.mask.limit);
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint4 a = stage.a[quarter][n][lane];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const uint4 &top = x[2 * m], &bottom = x[2 * m + 1];
        const uint32_t first[4] = {top.x, bottom.x, top.y, bottom.y};
        const uint32_t second[4] = {top.z, bottom.z, top.w, bottom.w};
        mma(sums[m][n], first, a.x, a.y);
        mma(sums[m][n], second, a.z, a.w);
      }
    }
  }

  copies_wait<0>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float2* const to = reinterpret_cast<float2*>(
            &shared.sums[quarter][first_row + 16 * m + 8 * half][8 * n + lane % 4 * 2]);
        *to = make_float2(sums[m][n][2 * half], sums[m][n][2 * half + 1]);
      }
    }
  }
  __syncthreads();
  constexpr int kWidth = 8 * kTiles;
  for (int i = threadIdx.x; i < kTokens * kWidth; i += kBlock) {
    const int row = i / kWidth, rank = i % kWidth;
    const int64_t t = block_token + row;
    float sum = shared.sums[0][row][rank];
#pragma unroll
    for (int q = 1; q < kQuarters; ++q) sum += shared.sums[q][row][rank];
    if (t >= d.T) continue;
    if (d.partial != nullptr) {
      d.partial[(blockIdx.y * d.T + t) * kWidth + rank] = sum;
    } else if (rank < d.R) {
      d.u[t * d.ldu + rank] = from_float<act_t>(d.mask.scale * sum);
    }
  }
}

// u = scale · the parts, in order.
__global__ void __launch_bounds__(kThreads) add_parts_kernel(Down d, int parts, int width) {
  const int64_t count = d.T * width;
  const int64_t i = first_item();
  if (i >= count || i % width >= d.R) return;
  float sum = d.partial[i];
  for (int part = 1; part < parts; ++part) sum += d.partial[part * count + i];
  d.u[i / width * d.ldu + i % width] = from_float<act_t>(d.mask.scale * sum);
}

template <int kTiles>
void launch(Down d, CudaDevice& device) {
  constexpr size_t kShared = sizeof(DownShared<kTiles>);
  constexpr int kWidth = 8 * kTiles;
  constexpr int64_t kOverhead = 4;  // steps a block's beginning and end take
  check(cudaFuncSetAttribute(down_kernel<kTiles>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             int{kShared}),
        "lora_down_forward: shared memory");
  const int64_t tiles = ceil_div(d.T, kTokens), steps = ceil_div(d.in, kColumns);
  int64_t parts = choose_parts(tiles, steps, resident_blocks(kBlocks, kShared, device), kOverhead);
  d.part_columns = ceil_div(steps, parts) * kColumns;
  parts = ceil_div(d.in, d.part_columns);
  if (parts > 1) d.partial = partial_sums(parts * d.T * kWidth, device);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(parts));
  down_kernel<kTiles><<<grid, kBlock, kShared, device.stream()>>>(d);
  check_launch("lora_down_forward");
  if (parts == 1) return;
  add_parts_kernel<<<static_cast<unsigned>(ceil_div(d.T * kWidth, kThreads)), kThreads, 0,
                     device.stream()>>>(d, static_cast<int>(parts), kWidth);
  check_launch("lora_down_forward");
}

}  // namespace
}  // namespace cuda

void ops::lora_down_forward(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, const act_t* a,
                            int64_t T, int64_t in, int64_t R, const DropoutSite* dropout,
                            Device& d) {
  using namespace cuda;
  if (T <= 0 || R <= 0) return;
  CudaDevice& device = cuda_device(d);
  const DropoutMask mask = mask_of(dropout);
  const bool aligned = in % 8 == 0 && rows_aligned(x, ldx) && rows_aligned(a, in);
  const int64_t passes = ceil_div(R, kMostRanks), each = ceil_div(ceil_div(R, passes), 16) * 16;
  for (int64_t first = 0; first < R; first += each) {
    const int64_t ranks = std::min(each, R - first);
    const Down down = {u + first, ldu, nullptr, x, ldx,     a + first * in,
                       T,         in,  ranks,   0, aligned, mask};
    switch (ceil_div(ranks, 16)) {
      case 1:
        launch<2>(down, device);
        break;
      case 2:
        launch<4>(down, device);
        break;
      case 3:
        launch<6>(down, device);
        break;
      default:
        launch<8>(down, device);
    }
  }
}

}  // namespace qlora
