// lora_down_forward: U [T, R] = drop(X) · Aᵀ, X read once.
//
// A block takes 64 tokens and a stretch of columns, 128 at a time: two groups of 32 tokens by four
// quarters of 32 columns, a warp each. A's 128 columns lie in shared memory in the order of the
// lanes that read them. At the end the quarters are added in order; where the columns are cut in
// parts to fill the GPU, a second kernel adds the parts in order.
//
// 2 bytes and 2R FLOPs an element of X: bound by memory, with Philox close behind. At 8 elements a
// lane the loop is 73 instructions (R 16, sm_90), of which 16 wide multiplications; while 512 bytes
// arrive for a warp at an H200's rate, its multiprocessor issues about 130.
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
  int T, in, R;
  int part_columns;  // a multiple of kColumns
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

// What a thread copies in every step: its own columns of kRows tokens, and chunks of A.
template <int kTiles>
struct DownSource {
  static constexpr int kChunks = kColumns / 8;
  static constexpr int kEach = 8 * kTiles * kChunks / kBlock;  // chunks of A
  const act_t* x;      // of the first token; the others 8 rows on
  const act_t* a;      // of the first chunk; the others kBlock / kChunks ranks on
  int rows;            // of the kRows, how many there are
  int ranks;           // of A from the first chunk's on
  int x_left, a_left;  // columns from the first on

  __device__ DownSource(const Down& d, int token, int begin, int own) {
    const int rank = threadIdx.x / kChunks, column = threadIdx.x % kChunks * 8;
    x = d.x + int64_t{token} * d.ldx + begin + own;
    a = d.a + int64_t{rank} * d.in + begin + column;
    rows = token < d.T ? (d.T - token + 7) / 8 : 0;
    ranks = d.R - rank;
    x_left = d.in - begin - own;
    a_left = d.in - begin - column;
  }
  template <bool kAligned>
  __device__ void load(DownStage<kTiles>& stage, const Down& d) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      stage8<kAligned>(&stage.x[i][threadIdx.x], x + i * (8 * d.ldx), i < rows ? x_left : 0);
    }
    const int rank = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      constexpr int kApart = kBlock / kChunks;  // ranks, whole tiles
      stage8<kAligned>(&stage.a[chunk / 4][(rank + i * kApart) / 8][rank % 8 * 4 + chunk % 4],
                       a + i * int64_t{kApart} * d.in, i * kApart < ranks ? a_left : 0);
    }
    x += kColumns;
    a += kColumns;
    x_left -= kColumns;
    a_left -= kColumns;
  }
};

template <int kTiles, bool kMask, bool kAligned>
__global__ void __launch_bounds__(kBlock, kBlocks) down_kernel(const __grid_constant__ Down d) {
  extern __shared__ __align__(128) uint8_t raw[];
  DownShared<kTiles>& shared = *reinterpret_cast<DownShared<kTiles>*>(raw);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int quarter = warp % kQuarters, first_row = warp / kQuarters * 32 + lane / 4;
  const int block_token = blockIdx.x * kTokens, token = block_token + first_row;
  const int begin = blockIdx.y * d.part_columns;
  const int end = begin + d.part_columns < d.in ? begin + d.part_columns : d.in;
  const int steps = (end - begin + kColumns - 1) / kColumns;
  const int own = quarter * 32 + lane % 4 * 8;  // first of this lane's columns in a step

  DownSource<kTiles> source(d, token, begin, own);
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    if (s < steps) source.template load<kAligned>(shared.stages[s], d);
    copies_commit();
  }
  MaskRow rows[kRows] = {};
  if (kMask) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int t = token + 8 * i < d.T ? token + 8 * i : 0;
      rows[i] = mask_row(d.mask, d.mask.keys[t], d.mask.positions[t]);
    }
  }

  float sums[2][kTiles][4] = {};
  for (int step = 0, at = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    const int next = at == 0 ? kStages - 1 : at - 1;
    if (step + kStages - 1 < steps) source.template load<kAligned>(shared.stages[next], d);
    copies_commit();
    const DownStage<kTiles>& stage = shared.stages[at];
    at = at == kStages - 1 ? 0 : at + 1;
    MaskColumns columns = {};
    if (kMask) columns = mask_columns(d.mask, begin + step * kColumns + own);
    uint4 x[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      x[i] = stage.x[i][threadIdx.x];
      if (kMask) x[i] = masked8(x[i], kept_of(d.mask, rows[i], columns));
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
    const int t = block_token + row;
    float sum = shared.sums[0][row][rank];
#pragma unroll
    for (int q = 1; q < kQuarters; ++q) sum += shared.sums[q][row][rank];
    if (t >= d.T) continue;
    if (d.partial != nullptr) {
      d.partial[(int64_t{blockIdx.y} * d.T + t) * kWidth + rank] = sum;
    } else if (rank < d.R) {
      d.u[int64_t{t} * d.ldu + rank] = from_float<act_t>(d.mask.scale * sum);
    }
  }
}

// u = scale · the parts, in order.
__global__ void __launch_bounds__(kThreads) add_parts_kernel(Down d, int parts, int width) {
  const int64_t count = int64_t{d.T} * width;
  const int64_t i = first_item();
  if (i >= count || i % width >= d.R) return;
  float sum = d.partial[i];
  for (int part = 1; part < parts; ++part) sum += d.partial[part * count + i];
  d.u[i / width * d.ldu + i % width] = from_float<act_t>(d.mask.scale * sum);
}

template <int kTiles>
auto kernel_of(bool masked, bool aligned) {
  if (masked) return aligned ? down_kernel<kTiles, true, true> : down_kernel<kTiles, true, false>;
  return aligned ? down_kernel<kTiles, false, true> : down_kernel<kTiles, false, false>;
}

template <int kTiles>
void launch(Down d, bool aligned, CudaDevice& device) {
  constexpr size_t kShared = sizeof(DownShared<kTiles>);
  constexpr int kWidth = 8 * kTiles;
  constexpr int64_t kOverhead = 4;  // steps a block's beginning and end take
  const auto kernel = kernel_of<kTiles>(d.mask.active, aligned);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int{kShared}),
        "lora_down_forward: shared memory");
  const int64_t tiles = ceil_div(d.T, kTokens), steps = ceil_div(d.in, kColumns);
  int64_t parts = choose_parts(tiles, steps, resident_blocks(kBlocks, kShared, device), kOverhead);
  d.part_columns = static_cast<int>(ceil_div(steps, parts)) * kColumns;
  parts = ceil_div(d.in, d.part_columns);
  if (parts > 1) d.partial = partial_sums(parts * d.T * kWidth, device);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(parts));
  kernel<<<grid, kBlock, kShared, device.stream()>>>(d);
  check_launch("lora_down_forward");
  if (parts == 1) return;
  add_parts_kernel<<<static_cast<unsigned>(ceil_div(int64_t{d.T} * kWidth, kThreads)), kThreads, 0,
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
    const Down down = {u + first,
                       ldu,
                       nullptr,
                       x,
                       ldx,
                       a + first * in,
                       static_cast<int>(T),
                       static_cast<int>(in),
                       static_cast<int>(ranks),
                       0,
                       mask};
    switch (ceil_div(ranks, 16)) {
      case 1:
        launch<2>(down, aligned, device);
        break;
      case 2:
        launch<4>(down, aligned, device);
        break;
      case 3:
        launch<6>(down, aligned, device);
        break;
      default:
        launch<8>(down, aligned, device);
    }
  }
}

}  // namespace qlora
