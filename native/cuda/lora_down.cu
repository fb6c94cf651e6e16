// lora_down_forward: U [T, R] = drop(X) · Aᵀ, X read once.
//
// A block takes tiles of 64 tokens and stretches of columns, 128 at a time: two groups of 32 tokens
// by four quarters of 32 columns, a warp each. A's 128 columns lie in shared memory in the order of
// the lanes that read them. At the end of a stretch the quarters are added in order; where a tile
// is the work of several blocks, the last of them to finish adds all their sums, in order.
//
// 2 bytes and 2R FLOPs an element of X: bound by memory, with Philox close behind. At 8 elements a
// lane the loop is 73 instructions (R 16, sm_90), of which 16 wide multiplications; while 512 bytes
// arrive for a warp at an H200's rate, its multiprocessor issues about 130.
#include "last_block.cuh"
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
  float* partial;     // [blocks, 2, kTokens, 8 · kTiles]: of a block's first tile and its last
  unsigned* tickets;  // (blocks)
  const act_t* x;
  int64_t ldx;
  const act_t* a;  // [R, in]
  int T, in, R;
  Split split;  // tiles: kTokens tokens; steps: kColumns columns
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
  float sums[kQuarters][kTokens][8 * kTiles + 8];  // rows in different banks
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

// u = scale · sum, four ranks of a token.
__device__ inline void write_u(const Down& d, int t, int rank, const float4& sum) {
  act_t* const to = d.u + int64_t{t} * d.ldu + rank;
  if (rank < d.R) to[0] = from_float<act_t>(d.mask.scale * sum.x);
  if (rank + 1 < d.R) to[1] = from_float<act_t>(d.mask.scale * sum.y);
  if (rank + 2 < d.R) to[2] = from_float<act_t>(d.mask.scale * sum.z);
  if (rank + 3 < d.R) to[3] = from_float<act_t>(d.mask.scale * sum.w);
}
__device__ inline float4 plus(const float4& x, const float4& y) {
  return make_float4(x.x + y.x, x.y + y.y, x.z + y.z, x.w + y.w);
}

// u of a tile from the sums of its blocks, the last of which calls it.
template <int kWidth>
__device__ inline void add_blocks(const Down& d, int tile, int first, int blocks) {
  constexpr int kQuads = kWidth / 4, kTile = kTokens * kQuads;
  constexpr int kAtOnce = 4;  // blocks' sums on their way
  // The tile is the first of all its blocks but perhaps of the first one, which may end with it.
  const bool second = d.split.begin(first) < tile * d.split.steps;
  const float4* const partial =
      reinterpret_cast<const float4*>(d.partial) + int64_t{2} * first * kTile;
  for (int i = threadIdx.x; i < kTile; i += kBlock) {
    const int t = tile * kTokens + i / kQuads;
    if (t >= d.T) return;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int b = 0; b < blocks; b += kAtOnce) {
      float4 values[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int which = 2 * (b + j) + (b + j == 0 && second ? 1 : 0);
        values[j] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (b + j < blocks) values[j] = __ldcg(partial + int64_t{which} * kTile + i);
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) sum = plus(sum, values[j]);
    }
    write_u(d, t, i % kQuads * 4, sum);
  }
}

template <int kTiles, bool kMask, bool kAligned>
__global__ void __launch_bounds__(kBlock, kBlocks) down_kernel(const __grid_constant__ Down d) {
  extern __shared__ __align__(128) uint8_t raw[];
  DownShared<kTiles>& shared = *reinterpret_cast<DownShared<kTiles>*>(raw);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int quarter = warp % kQuarters, first_row = warp / kQuarters * 32 + lane / 4;
  const int own = quarter * 32 + lane % 4 * 8;  // first of this lane's columns in a step
  const int last = d.split.begin(blockIdx.x + 1);
  bool first_tile = true;
  for (int unit = d.split.begin(blockIdx.x); unit < last; first_tile = false) {
    const int tile = unit / d.split.steps, first_step = unit % d.split.steps;
    const int steps = min(last - unit, d.split.steps - first_step);
    const int token = tile * kTokens + first_row, begin = first_step * kColumns;
    unit += steps;

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
    constexpr int kWidth = 8 * kTiles, kQuads = kWidth / 4, kTile = kTokens * kQuads;
    const bool whole = steps == d.split.steps;
    float4* const partial = reinterpret_cast<float4*>(d.partial) +
                            (int64_t{2} * blockIdx.x + (first_tile ? 0 : 1)) * kTile;
    for (int i = threadIdx.x; i < kTile; i += kBlock) {
      const int row = i / kQuads, rank = i % kQuads * 4, t = tile * kTokens + row;
      float4 sum = *reinterpret_cast<const float4*>(&shared.sums[0][row][rank]);
#pragma unroll
      for (int q = 1; q < kQuarters; ++q) {
        sum = plus(sum, *reinterpret_cast<const float4*>(&shared.sums[q][row][rank]));
      }
      if (t >= d.T) continue;
      if (whole) {
        write_u(d, t, rank, sum);
      } else {
        partial[i] = sum;
      }
    }
    if (!whole) {
      const int first = d.split.block_of(tile * d.split.steps);
      const int blocks = d.split.block_of((tile + 1) * d.split.steps - 1) - first + 1;
      if (is_last_block(d.tickets + first, static_cast<unsigned>(blocks))) {
        add_blocks<kWidth>(d, tile, first, blocks);
      }
    }
    __syncthreads();  // the stages are free for the next tile
  }
}

template <int kTiles>
auto kernel_of(bool masked, bool aligned) {
  if (masked) return aligned ? down_kernel<kTiles, true, true> : down_kernel<kTiles, true, false>;
  return aligned ? down_kernel<kTiles, false, true> : down_kernel<kTiles, false, false>;
}

template <int kTiles>
void launch(Down d, bool aligned, CudaDevice& device) {
  constexpr size_t kShared = sizeof(DownShared<kTiles>);
  const auto kernel = kernel_of<kTiles>(d.mask.active, aligned);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int{kShared}),
        "lora_down_forward: shared memory");
  d.split = split_evenly(ceil_div(d.T, kTokens), ceil_div(d.in, kColumns),
                         resident_blocks(kBlocks, kShared, device));
  d.partial = partial_sums(int64_t{2} * d.split.blocks * kTokens * 8 * kTiles, device);
  d.tickets = device.tickets(d.split.blocks);
  kernel<<<static_cast<unsigned>(d.split.blocks), kBlock, kShared, device.stream()>>>(d);
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
                       nullptr,
                       x,
                       ldx,
                       a + first * in,
                       static_cast<int>(T),
                       static_cast<int>(in),
                       static_cast<int>(ranks),
                       {},
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
