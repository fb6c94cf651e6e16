// linear_decode: y [m, out] = x [m, in] · wᵀ + beta · y for few rows, straight from the quantised
// weight. Nothing but the weight is large, so the floor is its bytes over the memory bandwidth
// (4.5 bit a weight: the 8B's 7.0e9 in the layers, 3.9 GB, take 0.94 ms at 4.2 TB/s).
//
// A block owns 16 or 32 rows of w (columns of y) and its eight warps an eighth of `in` each, added
// in a fixed tree at the end. The product is mma.m16n8k16 with w as a and eight rows of x as b: a
// sum runs over the same k in the same order whatever m is, so a row of y has the same bits in any
// company. The order of k inside a product is free, so a lane takes neighbouring k and loads them
// in one access.
//
// NF4: a byte is looked up as a pair of bf16 codes, in a table each lane has its own copy of (no
// bank conflicts). The product of a block of 64 is scaled by its absmax in fp32: only the sixteen
// codes are rounded, after a scaling at which they lose least. Plain weights go the same way
// without a table.
// Rows that are not aligned, or blocks that cross rows: a warp a row of w, in fp32.
#include "common.cuh"
#include "mma.cuh"
#include "nf4.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kBlock = kWarps * kWarp;

// The codes times this lie closest to bf16 numbers: rms error 3.2e-4 of the largest, else 5.5e-4.
constexpr float kCodeScale = 1.43701171875f;

// absmax of one block of the weight. map: the dynamic map, read only when double-quantised.
__device__ inline float block_absmax(const ops::Weight& w, int64_t block, const float* map) {
  if (w.absmax != nullptr) return w.absmax[block];
  const float scaled = __fmul_rn(map[w.absmax_codes[block]], w.absmax2[block / kAbsmaxBlock]);
  return __fadd_rn(scaled, w.absmax_offset);
}

// ---- the end of both tiled kernels: warps added, y written --------------------------------------

template <int kRowTiles, int kColumnTiles>
struct Sums {
  float of[kRowTiles][kColumnTiles][4];
};

// y (rows n of x, columns o of y) from the block's sums. scratch: at least
// max(kWarps / 2, 1) · kRowTiles · 16 · kColumnTiles · 8 floats, no longer used for anything else.
template <int kRowTiles, int kColumnTiles, class Y>
__device__ inline void finish(Sums<kRowTiles, kColumnTiles>& sums, float* scratch, Y* y,
                              int64_t ldy, int64_t first_out, int64_t out, int m, float beta) {
  constexpr int kEach = kRowTiles * kColumnTiles * 4;  // of a lane
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  float* const flat = &sums.of[0][0][0];
#pragma unroll
  for (int half = kWarps / 2; half > 0; half /= 2) {
    __syncthreads();
    if (warp >= half && warp < 2 * half) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) scratch[((warp - half) * kEach + i) * kWarp + lane] = flat[i];
    }
    __syncthreads();
    if (warp < half) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) flat[i] += scratch[(warp * kEach + i) * kWarp + lane];
    }
  }
  __syncthreads();
  constexpr int kTile = kRowTiles * 16;
  if (warp == 0) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          scratch[(c * 8 + 2 * t + i % 2) * kTile + r * 16 + g + i / 2 * 8] = sums.of[r][c][i];
        }
      }
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kColumnTiles * 8 * kTile; i += kBlock) {
    const int n = i / kTile;
    const int64_t o = first_out + i % kTile;
    if (n >= m || o >= out) continue;
    Y* const to = y + n * ldy + o;
    *to = from_float<Y>(beta == 0.0f ? scratch[i] : scratch[i] + beta * to_float(*to));
  }
}

// ---- NF4 ----------------------------------------------------------------------------------------

// One block of 64 weights of 2 · kRowTiles rows, as a lane holds them: bytes [8t, 8t + 8) of each.
template <int kRowTiles>
struct Nf4Piece {
  uint2 packed[2 * kRowTiles];
  float absmax[2 * kRowTiles];
};

template <int kRowTiles>
__device__ inline void load_piece(Nf4Piece<kRowTiles>& piece, const ops::Weight& w,
                                  int64_t first_out, int64_t block, const float* map) {
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  const int64_t blocks = w.in / kNf4Block;
#pragma unroll
  for (int i = 0; i < 2 * kRowTiles; ++i) {
    const int64_t row = first_out + i * 8 + g;
    piece.packed[i] = make_uint2(0, 0);
    piece.absmax[i] = 0.0f;  // rows behind the last one and blocks behind the warp's add nothing
    if (row >= w.out || block < 0) continue;
    const int64_t at = row * blocks + block;
    piece.packed[i] =
        __ldg(reinterpret_cast<const uint2*>(w.packed + at * (kNf4Block / 2) + t * 8));
    piece.absmax[i] = block_absmax(w, at, map) * (1.0f / kCodeScale);
  }
}

// The pair of bf16 codes of byte i (0 … 3) of a word; table: this lane's column.
__device__ inline uint32_t look_up(const uint32_t* table, uint32_t word, int i) {
  return table[(word >> (8 * i) & 0xffu) * kWarp];
}

// Columns [t·16, t·16 + 16) of a block of 64 of row n of x.
struct XPiece {
  uint4 low, high;
};

// read_x(n): an XPiece, zeros where x has no row n.
template <int kRowTiles, int kColumnTiles, class ReadX>
__device__ inline void multiply_piece(Sums<kRowTiles, kColumnTiles>& sums,
                                      const Nf4Piece<kRowTiles>& piece, const uint32_t* table,
                                      const ReadX& read_x) {
  uint32_t a[kRowTiles][4][4];  // of four products
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint2 packed = piece.packed[2 * r + half];
#pragma unroll
      for (int s = 0; s < 4; ++s) {
        const uint32_t word = s < 2 ? packed.x : packed.y;
        a[r][s][half] = look_up(table, word, s % 2 * 2);
        a[r][s][half + 2] = look_up(table, word, s % 2 * 2 + 1);
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
    const XPiece x = read_x(c * 8 + static_cast<int>(threadIdx.x) % kWarp / 4);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
      float product[4] = {};
      mma(product, a[r][0], x.low.x, x.low.y);
      mma(product, a[r][1], x.low.z, x.low.w);
      mma(product, a[r][2], x.high.x, x.high.y);
      mma(product, a[r][3], x.high.z, x.high.w);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        sums.of[r][c][i] = fmaf(product[i], piece.absmax[2 * r + i / 2], sums.of[r][c][i]);
      }
    }
  }
}

constexpr size_t kTableBytes = 256 * kWarp * sizeof(uint32_t);
constexpr size_t kMapBytes = 256 * sizeof(float);

// The byte's high nibble comes first: the low half of the pair.
__device__ inline void fill_table(uint32_t* table, const Nf4Codes& nf4) {
  const int lane = threadIdx.x % kWarp;
  for (int byte = threadIdx.x / kWarp; byte < 256; byte += blockDim.x / kWarp) {
    table[byte * kWarp + lane] = pack_bf16(nf4.value[byte >> 4] * kCodeScale,
                                              nf4.value[byte & 15] * kCodeScale);
  }
}

template <int kRowTiles, int kColumnTiles, class Y>
__global__ void __launch_bounds__(kBlock)
    nf4_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, ops::Weight w, float beta,
               Nf4Codes nf4, DynamicMap dynamic) {
  extern __shared__ __align__(128) uint8_t shared[];
  uint32_t* const table = reinterpret_cast<uint32_t*>(shared);
  float* const map = reinterpret_cast<float*>(shared + kTableBytes);
  constexpr int kAhead = 4;  // pieces loaded together
  const int64_t first_out = int64_t{blockIdx.x} * kRowTiles * 16;
  if (w.absmax == nullptr) map[threadIdx.x] = dynamic.value[threadIdx.x];
  fill_table(table, nf4);
  __syncthreads();

  const int64_t blocks = w.in / kNf4Block, warp = threadIdx.x / kWarp;
  const int64_t begin = blocks * warp / kWarps, end = blocks * (warp + 1) / kWarps;
  const uint32_t* const column = table + threadIdx.x % kWarp;
  Sums<kRowTiles, kColumnTiles> sums = {};
  for (int64_t block = begin; block < end; block += kAhead) {
    Nf4Piece<kRowTiles> pieces[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      load_piece(pieces[i], w, first_out, block + i < end ? block + i : -1, map);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (block + i >= end) continue;
      const act_t* const from = x + (block + i) * kNf4Block + threadIdx.x % 4 * 16;
      multiply_piece(sums, pieces[i], column, [&](int n) {
        XPiece piece = {};
        if (n < m) {
          const uint4* const row = reinterpret_cast<const uint4*>(from + n * ldx);
          piece = {__ldg(row), __ldg(row + 1)};
        }
        return piece;
      });
    }
  }
  finish(sums, reinterpret_cast<float*>(shared), y, ldy, first_out, w.out, m, beta);
}

// ---- NF4, many rows of x ------------------------------------------------------------------------
// With one block's 32 rows of w, reading x costs more than reading w. Here the warps of a block
// have 32 rows of w each and share x through shared memory; the eighths of `in` are spread over
// blocks, two to a block, and their sums [kQuarters, m, out] joined by a second kernel. The order
// of every addition is the one of nf4_kernel and finish, so the bits are too.

constexpr int kWideWarps = 4;
constexpr int kWideBlock = kWideWarps * kWarp;
constexpr int kWideRowTiles = 2;
constexpr int kWideRows = kWideWarps * kWideRowTiles * 16;  // of w
constexpr int kQuarters = kWarps / 2;
constexpr int kTogether = 2;  // blocks of 64 a stage holds

template <int kColumnTiles>
constexpr int kStageValues = kTogether * kColumnTiles * 8 * static_cast<int>(kNf4Block);
template <int kColumnTiles>
constexpr size_t kWideBytes =
    kTableBytes + kMapBytes + 2 * sizeof(act_t) * kStageValues<kColumnTiles>;

// A row of a block of 64 in shared memory: eight chunks of 16 bytes, odd rows' pairs exchanged.
__device__ inline int stage_chunk(int row, int chunk) {
  return row * static_cast<int>(kNf4Block) + ((chunk ^ (row & 1)) << 3);
}

template <int kColumnTiles>
__device__ inline void load_stage(act_t* stage, const act_t* x, int64_t ldx, int m, int64_t block,
                                  int64_t end) {
  constexpr int kRowsOfX = kColumnTiles * 8, kChunks = kNf4Block / 8;
  for (int i = threadIdx.x; i < kTogether * kRowsOfX * kChunks; i += kWideBlock) {
    const int chunk = i % kChunks, n = i / kChunks % kRowsOfX, piece = i / kChunks / kRowsOfX;
    const bool valid = n < m && block + piece < end;
    copy16_async(stage + piece * kRowsOfX * kNf4Block + stage_chunk(n, chunk),
                 x + (valid ? n * ldx + (block + piece) * kNf4Block + chunk * 8 : 0), valid);
  }
  copies_commit();
}

template <int kColumnTiles>
__global__ void __launch_bounds__(kWideBlock)
    nf4_wide_kernel(float* partial, const act_t* x, int64_t ldx, int m, ops::Weight w, Nf4Codes nf4,
                    DynamicMap dynamic) {
  extern __shared__ __align__(128) uint8_t shared[];
  uint32_t* const table = reinterpret_cast<uint32_t*>(shared);
  float* const map = reinterpret_cast<float*>(shared + kTableBytes);
  act_t* const stages = reinterpret_cast<act_t*>(shared + kTableBytes + kMapBytes);
  constexpr int kRowsOfX = kColumnTiles * 8;
  for (int i = threadIdx.x; i < 256; i += kWideBlock) map[i] = dynamic.value[i];
  fill_table(table, nf4);

  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
  const int64_t first_out = int64_t{blockIdx.x} * kWideRows + warp * kWideRowTiles * 16;
  const int64_t blocks = w.in / kNf4Block;
  const uint32_t* const column = table + lane;
  Sums<kWideRowTiles, kColumnTiles> total = {};
#pragma unroll 1
  for (int part = 0; part < 2; ++part) {
    const int64_t eighth = blockIdx.y + part * kQuarters;
    const int64_t begin = blocks * eighth / kWarps, end = blocks * (eighth + 1) / kWarps;
    Sums<kWideRowTiles, kColumnTiles> sums = {};
    __syncthreads();  // the tables; the stages of the part before
    if (begin < end) load_stage<kColumnTiles>(stages, x, ldx, m, begin, end);
    int stage = 0;
    for (int64_t block = begin; block < end; block += kTogether, stage ^= 1) {
      Nf4Piece<kWideRowTiles> pieces[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        load_piece(pieces[i], w, first_out, block + i < end ? block + i : -1, map);
      }
      copies_wait<0>();
      __syncthreads();
      if (block + kTogether < end) {
        load_stage<kColumnTiles>(stages + (stage ^ 1) * kStageValues<kColumnTiles>, x, ldx, m,
                                 block + kTogether, end);
      }
      const act_t* const x_stage = stages + stage * kStageValues<kColumnTiles>;
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        if (block + i >= end) continue;
        multiply_piece(sums, pieces[i], column, [&](int n) {
          const act_t* const from = x_stage + i * kRowsOfX * kNf4Block;
          return XPiece{*reinterpret_cast<const uint4*>(from + stage_chunk(n, 2 * t)),
                        *reinterpret_cast<const uint4*>(from + stage_chunk(n, 2 * t + 1))};
        });
      }
    }
#pragma unroll
    for (int r = 0; r < kWideRowTiles; ++r) {
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          total.of[r][c][i] = part == 0 ? sums.of[r][c][i] : total.of[r][c][i] + sums.of[r][c][i];
        }
      }
    }
  }
#pragma unroll
  for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int n = c * 8 + 2 * t + i % 2;
#pragma unroll
      for (int r = 0; r < kWideRowTiles; ++r) {
        const int64_t o = first_out + r * 16 + g + i / 2 * 8;
        if (n < m && o < w.out) {
          partial[(int64_t{blockIdx.y} * m + n) * w.out + o] = total.of[r][c][i];
        }
      }
    }
  }
}

template <class Y>
__global__ void join_kernel(Y* y, int64_t ldy, const float* partial, int m, int64_t out,
                            float beta) {
  for (int64_t i = first_item(); i < m * out; i += item_stride()) {
    const float* const from = partial + i;
    const int64_t stride = m * out;
    const float sum = (from[0] + from[2 * stride]) + (from[stride] + from[3 * stride]);
    Y* const to = y + i / out * ldy + i % out;
    *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
  }
}

// ---- plain --------------------------------------------------------------------------------------

// Eight values from column k on, of a row that begins on 16 bytes; zeros from `in` on.
__device__ inline uint4 load_eight(const act_t* row, int64_t k, int64_t in) {
  if (k + 8 <= in) return __ldg(reinterpret_cast<const uint4*>(row + k));
  if (k >= in) return make_uint4(0, 0, 0, 0);
  return pack8(load_first8(row + k, in - k));
}

template <int kRowTiles, int kColumnTiles, class Y>
__global__ void __launch_bounds__(kBlock)
    plain_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, ops::Weight w, float beta) {
  extern __shared__ __align__(128) uint8_t shared[];
  constexpr int kStep = 32;   // k a lane quad takes in one access each
  constexpr int kAhead = 4;   // steps loaded together
  const int64_t first_out = int64_t{blockIdx.x} * kRowTiles * 16;
  const int64_t steps = ceil_div(w.in, kStep), warp = threadIdx.x / kWarp;
  const int64_t begin = steps * warp / kWarps, end = steps * (warp + 1) / kWarps;
  const int g = threadIdx.x % kWarp / 4, t = threadIdx.x % 4;
  Sums<kRowTiles, kColumnTiles> sums = {};
  for (int64_t step = begin; step < end; step += kAhead) {
    uint4 a[kAhead][2 * kRowTiles];
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
#pragma unroll
      for (int i = 0; i < 2 * kRowTiles; ++i) {
        const int64_t row = first_out + i * 8 + g;
        a[s][i] = row < w.out && step + s < end
                      ? load_eight(w.plain + row * w.ld, (step + s) * kStep + t * 8, w.in)
                      : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int s = 0; s < kAhead; ++s) {
      if (step + s >= end) break;
#pragma unroll
      for (int c = 0; c < kColumnTiles; ++c) {
        const int n = c * 8 + g;
        const uint4 b = n < m ? load_eight(x + n * ldx, (step + s) * kStep + t * 8, w.in)
                              : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int r = 0; r < kRowTiles; ++r) {
          const uint4 top = a[s][2 * r], low = a[s][2 * r + 1];
          const uint32_t first[4] = {top.x, low.x, top.y, low.y};
          const uint32_t second[4] = {top.z, low.z, top.w, low.w};
          mma(sums.of[r][c], first, b.x, b.y);
          mma(sums.of[r][c], second, b.z, b.w);
        }
      }
    }
  }
  finish(sums, reinterpret_cast<float*>(shared), y, ldy, first_out, w.out, m, beta);
}

// ---- any alignment ------------------------------------------------------------------------------

__device__ inline float weight_at(const ops::Weight& w, int64_t row, int64_t k, const Nf4Codes& nf4,
                                  const float* map) {
  if (w.plain != nullptr) return to_float(w.plain[row * w.ld + k]);
  const int64_t i = row * w.in + k;
  const uint8_t byte = w.packed[i / 2];
  return nf4.value[i % 2 == 0 ? byte >> 4 : byte & 15] * block_absmax(w, i / kNf4Block, map);
}

// A warp a row of w, its lanes stride over k, eight rows of x at a time.
template <class Y>
__global__ void __launch_bounds__(kBlock)
    unaligned_kernel(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, ops::Weight w,
                     float beta, Nf4Codes nf4, DynamicMap dynamic) {
  constexpr int kTogether = 8;
  __shared__ float map[256];
  map[threadIdx.x] = dynamic.value[threadIdx.x];
  __syncthreads();
  const int64_t o = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (o >= w.out) return;
  for (int64_t first = 0; first < m; first += kTogether) {
    float sums[kTogether] = {};
    for (int64_t k = threadIdx.x % kWarp; k < w.in; k += kWarp) {
      const float value = weight_at(w, o, k, nf4, map);
#pragma unroll
      for (int n = 0; n < kTogether; ++n) {
        if (first + n < m) sums[n] = fmaf(value, to_float(x[(first + n) * ldx + k]), sums[n]);
      }
    }
#pragma unroll
    for (int n = 0; n < kTogether; ++n) {
      const float sum = warp_sum(sums[n]);
      if (first + n >= m || threadIdx.x % kWarp != 0) continue;
      Y* const to = y + (first + n) * ldy + o;
      *to = from_float<Y>(beta == 0.0f ? sum : sum + beta * to_float(*to));
    }
  }
}

// ---- launches -----------------------------------------------------------------------------------

template <int kRowTiles, int kColumnTiles, class Y>
void launch_tiled(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, const ops::Weight& w,
                  float beta, CudaDevice& device) {
  const unsigned blocks = static_cast<unsigned>(ceil_div(w.out, kRowTiles * 16));
  constexpr size_t kScratch =
      sizeof(float) * (kWarps / 2) * kRowTiles * 16 * kColumnTiles * 8;
  if (w.plain != nullptr) {
    plain_kernel<kRowTiles, kColumnTiles, Y>
        <<<blocks, kBlock, kScratch, device.stream()>>>(y, ldy, x, ldx, m, w, beta);
  } else {
    constexpr size_t kTables = kTableBytes + kMapBytes;
    constexpr size_t kShared = kTables > kScratch ? kTables : kScratch;
    nf4_kernel<kRowTiles, kColumnTiles, Y>
        <<<blocks, kBlock, kShared, device.stream()>>>(y, ldy, x, ldx, m, w, beta, nf4_codes(),
                                                       dynamic_map());
  }
  check_launch("linear_decode");
}

template <int kColumnTiles, class Y>
void launch_wide(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int m, const ops::Weight& w,
                 float beta, CudaDevice& device) {
  static_assert(kQuarters == 4, "join_kernel adds four");
  float* const partial =
      static_cast<float*>(device.scratch(size_t(kQuarters * m * w.out) * sizeof(float)));
  check(cudaFuncSetAttribute(nf4_wide_kernel<kColumnTiles>,
                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                             int{kWideBytes<kColumnTiles>}),
        "linear_decode: shared memory");
  const dim3 grid(static_cast<unsigned>(ceil_div(w.out, kWideRows)), kQuarters);
  nf4_wide_kernel<kColumnTiles><<<grid, kWideBlock, kWideBytes<kColumnTiles>, device.stream()>>>(
      partial, x, ldx, m, w, nf4_codes(), dynamic_map());
  check_launch("linear_decode");
  join_kernel<Y><<<blocks_for(m * w.out), kThreads, 0, device.stream()>>>(y, ldy, partial, m, w.out,
                                                                          beta);
  check_launch("linear_decode: quarters joined");
}

template <class Y>
void linear(Y* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const ops::Weight& w,
            float beta, Device& d) {
  CudaDevice& device = cuda_device(d);
  if (m == 0 || w.out == 0) return;
  const bool aligned =
      rows_aligned(x, ldx) &&
      (w.plain != nullptr ? rows_aligned(w.plain, w.ld)
                          : w.in % kNf4Block == 0 && rows_aligned(w.packed, 16));
  if (!aligned) {
    unaligned_kernel<Y><<<static_cast<unsigned>(ceil_div(w.out, kWarps)), kBlock, 0,
                          device.stream()>>>(y, ldy, x, ldx, m, w, beta, nf4_codes(),
                                             dynamic_map());
    check_launch("linear_decode");
    return;
  }
  constexpr int64_t kMost = 64;  // rows of x a launch takes
  for (int64_t first = 0; first < m; first += kMost) {
    const int rows = static_cast<int>(m - first < kMost ? m - first : kMost);
    Y* const to = y + first * ldy;
    const act_t* const from = x + first * ldx;
    const bool wide = w.plain == nullptr && w.out >= kWideRows;
    if (rows <= 8) {
      launch_tiled<1, 1>(to, ldy, from, ldx, rows, w, beta, device);
    } else if (rows <= 16) {
      launch_tiled<1, 2>(to, ldy, from, ldx, rows, w, beta, device);
    } else if (rows <= 32 && wide) {
      launch_wide<4>(to, ldy, from, ldx, rows, w, beta, device);
    } else if (wide) {
      launch_wide<8>(to, ldy, from, ldx, rows, w, beta, device);
    } else if (rows <= 32) {
      launch_tiled<2, 4>(to, ldy, from, ldx, rows, w, beta, device);
    } else {
      launch_tiled<2, 8>(to, ldy, from, ldx, rows, w, beta, device);
    }
  }
}

}  // namespace
}  // namespace cuda

void ops::linear_decode(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                        const Weight& w, float beta, Device& d) {
  cuda::linear(y, ldy, x, ldx, m, w, beta, d);
}

void ops::linear_decode_f32(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                            const Weight& w, Device& d) {
  cuda::linear(y, ldy, x, ldx, m, w, 0.0f, d);
}

}  // namespace qlora
