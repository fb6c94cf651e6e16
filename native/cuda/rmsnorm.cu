// RMSNorm, fused with the residual addition before it.
//   forward:  x = residual + delta,  rstd = 1 / √(mean(x²) + eps),  out = x · rstd · weight
//   backward: g = dout · weight,  dresidual += rstd · (g − x · rstd² · mean(g · x))
// x is what sum holds, rounded to bf16: the backward pass and the next layer see the same numbers.
//
// Bound by memory: four rows of traffic either way. Where rows begin on 16 bytes and a block can
// hold one in registers, blocks stay and walk over the rows: the weight is read once a block, and
// the next row is on its way while the current one is summed. Other rows go through a kernel that
// takes any shape and reads what it needs twice.
#include <algorithm>
#include <type_traits>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

// ---- rows in registers ------------------------------------------------------------------------

// Blocks an SM shall hold; the compiler fits the registers to it. A block of 256 threads is for
// rows beyond 4,096 columns.
template <int kBlock>
constexpr int kForwardBlocks = 512 / kBlock;
template <int kBlock>
constexpr int kBackwardBlocks = 384 / kBlock;

// A thread's share of a row, kGroups times eight columns, kBlock · 8 apart; 0 behind the row's end.
template <int kBlock, int kGroups>
struct Share {
  uint4 raw[kGroups];

  __device__ static bool inside(int group, int H) {
    return static_cast<int>(threadIdx.x) < H / 8 - group * kBlock;
  }
  __device__ static int column() { return static_cast<int>(threadIdx.x) * 8; }

  __device__ void load(const act_t* row, int H) {
    const uint4* const own = reinterpret_cast<const uint4*>(row + column());
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      raw[i] = inside(i, H) ? own[i * kBlock] : make_uint4(0, 0, 0, 0);
    }
  }
  __device__ static void store(act_t* row, int group, int H, const uint4& value) {
    if (inside(group, H)) store16(row + column() + group * kBlock * 8, value);
  }
};

template <int kBlock, int kGroups>
__device__ void load_weight(Float8 (&w)[kGroups], const float* weight, int H) {
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    using Row = Share<kBlock, kGroups>;
    if (Row::inside(i, H)) w[i] = load8(weight + Row::column() + i * kBlock * 8);
  }
}

template <int kBlock, int kGroups, bool kDelta>
__global__ void __launch_bounds__(kBlock, kForwardBlocks<kBlock>)
    rmsnorm_forward_rows_kernel(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                                const act_t* residual, const act_t* delta, const float* weight,
                                int64_t T, int H, float eps) {
  let_next_begin();
  Float8 w[kGroups] = {};
  load_weight<kBlock, kGroups>(w, weight, H);
  await_previous();
  const float per_column = 1.0f / static_cast<float>(H);
  Share<kBlock, kGroups> next_x, next_delta;
  const auto load_row = [&](int64_t t) {
    next_x.load(residual + t * H, H);
    if (kDelta) next_delta.load(delta + t * H, H);
  };
  load_row(blockIdx.x);
  for (int64_t t = blockIdx.x; t < T; t += gridDim.x) {
    Share<kBlock, kGroups> x = next_x;
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      if (kDelta) {
        Float8 total = unpack8(x.raw[i]);
        const Float8 more = unpack8(next_delta.raw[i]);
#pragma unroll
        for (int k = 0; k < 8; ++k) total.v[k] += more.v[k];
        x.raw[i] = pack8(total);
        x.store(sum + t * H, i, H, x.raw[i]);
      }
      const Float8 v = unpack8(x.raw[i]);
#pragma unroll
      for (int k = 0; k < 8; ++k) squares += v.v[k] * v.v[k];
    }
    if (t + gridDim.x < T) load_row(t + gridDim.x);
    const float scale = rsqrtf(block_sum<kBlock>(squares) * per_column + eps);
    if (rstd != nullptr && threadIdx.x == 0) rstd[t] = scale;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      Float8 y = unpack8(x.raw[i]);
#pragma unroll
      for (int k = 0; k < 8; ++k) y.v[k] = y.v[k] * scale * w[i].v[k];
      x.store(out + t * ld_out, i, H, pack8(y));
    }
  }
}

template <int kBlock, int kGroups>
__global__ void __launch_bounds__(kBlock, kBackwardBlocks<kBlock>)
    rmsnorm_backward_rows_kernel(act_t* dresidual, const act_t* dout, int64_t ld_out,
                                 const act_t* x, const float* rstd, const float* weight, int64_t T,
                                 int H) {
  Float8 w[kGroups] = {};
  load_weight<kBlock, kGroups>(w, weight, H);
  const float per_column = 1.0f / static_cast<float>(H);
  Share<kBlock, kGroups> next_dout, next_x;
  const int lane = threadIdx.x % kWarp;
  float scales = 0.0f;  // lane i: rstd of the i-th row from here on, modulo 32
  const auto load_row = [&](int64_t t) {
    next_dout.load(dout + t * ld_out, H);
    next_x.load(x + t * H, H);
  };
  load_row(blockIdx.x);
  int turn = 0;
  for (int64_t t = blockIdx.x; t < T; t += gridDim.x, ++turn) {
    if (turn % kWarp == 0) {
      const int64_t own = t + int64_t{lane} * gridDim.x;
      scales = own < T ? rstd[own] : 0.0f;
    }
    const Share<kBlock, kGroups> d = next_dout, v = next_x;
    Share<kBlock, kGroups> old;  // wanted only after the sum
    old.load(dresidual + t * H, H);
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const Float8 g = unpack8(d.raw[i]), y = unpack8(v.raw[i]);
#pragma unroll
      for (int k = 0; k < 8; ++k) dot += g.v[k] * w[i].v[k] * y.v[k];
    }
    if (t + gridDim.x < T) load_row(t + gridDim.x);
    const float mean = block_sum<kBlock>(dot) * per_column;
    const float scale = __shfl_sync(kAllLanes, scales, turn % kWarp), pull = scale * scale * mean;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) {
      const Float8 g = unpack8(d.raw[i]), y = unpack8(v.raw[i]);
      Float8 sum = unpack8(old.raw[i]);
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        sum.v[k] += scale * (g.v[k] * w[i].v[k] - y.v[k] * pull);
      }
      d.store(dresidual + t * H, i, H, pack8(sum));
    }
  }
}

constexpr int64_t kMostColumns = 8192;

// Calls launch with a block size and a number of groups a thread, as compile-time numbers, that
// cover H ≤ kMostColumns columns.
template <class Launch>
void for_row_shape(int64_t H, const Launch& launch) {
  const std::integral_constant<int, 128> narrow;
  if (H <= 1024) return launch(narrow, std::integral_constant<int, 1>());
  if (H <= 2048) return launch(narrow, std::integral_constant<int, 2>());
  if (H <= 3072) return launch(narrow, std::integral_constant<int, 3>());
  if (H <= 4096) return launch(narrow, std::integral_constant<int, 4>());
  launch(std::integral_constant<int, 256>(), std::integral_constant<int, 4>());
}

// ---- any rows: a block a row ------------------------------------------------------------------

// The row's eight columns from c on: x, stored where there is a delta.
__device__ Float8 residual_sum(act_t* sum, const act_t* residual, const act_t* delta, int64_t c,
                               int64_t H) {
  Float8 x = load_row8<false>(residual, c, H);
  if (delta == nullptr) return x;
  const Float8 more = load_row8<false>(delta, c, H);
#pragma unroll
  for (int i = 0; i < 8; ++i) x.v[i] = to_float(from_float<act_t>(x.v[i] + more.v[i]));
  store_row8<false>(sum, c, H, x);
  return x;
}

__global__ void __launch_bounds__(kThreads)
    rmsnorm_forward_kernel(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                           const act_t* residual, const act_t* delta, const float* weight,
                           int64_t H, float eps) {
  const int64_t t = blockIdx.x;
  out += t * ld_out;
  residual += t * H;
  if (delta != nullptr) {
    delta += t * H;
    sum += t * H;
  }
  const int64_t first = int64_t{threadIdx.x} * 8;
  constexpr int64_t kStep = int64_t{kThreads} * 8;
  float squares = 0.0f;
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 x = residual_sum(sum, residual, delta, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) squares += x.v[i] * x.v[i];
  }
  const float scale = rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(H) + eps);
  if (rstd != nullptr && threadIdx.x == 0) rstd[t] = scale;
  const act_t* const again = delta != nullptr ? sum : residual;
  for (int64_t c = first; c < H; c += kStep) {
    Float8 y = load_row8<false>(again, c, H);
    const Float8 w = load_row8<false>(weight, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) y.v[i] = y.v[i] * scale * w.v[i];
    store_row8<false>(out, c, H, y);
  }
}

// g = dout · weight of eight columns.
__device__ Float8 weighted(const act_t* dout, const float* weight, int64_t c, int64_t H) {
  Float8 g = load_row8<false>(dout, c, H);
  const Float8 w = load_row8<false>(weight, c, H);
#pragma unroll
  for (int i = 0; i < 8; ++i) g.v[i] *= w.v[i];
  return g;
}

__global__ void __launch_bounds__(kThreads)
    rmsnorm_backward_kernel(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                            const float* rstd, const float* weight, int64_t H) {
  const int64_t t = blockIdx.x;
  dresidual += t * H;
  dout += t * ld_out;
  x += t * H;
  const float scale = rstd[t];
  const int64_t first = int64_t{threadIdx.x} * 8;
  constexpr int64_t kStep = int64_t{kThreads} * 8;
  float dot = 0.0f;
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 g = weighted(dout, weight, c, H), v = load_row8<false>(x, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) dot += g.v[i] * v.v[i];
  }
  const float pull = scale * scale * (block_sum<kThreads>(dot) / static_cast<float>(H));
  for (int64_t c = first; c < H; c += kStep) {
    const Float8 g = weighted(dout, weight, c, H), v = load_row8<false>(x, c, H);
    Float8 sum = load_row8<false>(dresidual, c, H);
#pragma unroll
    for (int i = 0; i < 8; ++i) sum.v[i] += scale * (g.v[i] - v.v[i] * pull);
    store_row8<false>(dresidual, c, H, sum);
  }
}

}  // namespace
}  // namespace cuda

void ops::rmsnorm_forward(act_t* out, int64_t ld_out, float* rstd, act_t* sum,
                          const act_t* residual, const act_t* delta, const float* weight, int64_t T,
                          int64_t H, float eps, Device& d) {
  if (T <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const bool in_registers = H <= cuda::kMostColumns && cuda::rows_aligned(out, ld_out) &&
                            cuda::rows_aligned(residual, H) && cuda::rows_aligned(delta, H) &&
                            cuda::rows_aligned(sum, H) && cuda::rows_aligned(weight, 8);
  if (!in_registers) {
    cuda::rmsnorm_forward_kernel<<<static_cast<unsigned>(T), cuda::kThreads, 0, device.stream()>>>(
        out, ld_out, rstd, sum, residual, delta, weight, H, eps);
  } else {
    cuda::for_row_shape(H, [&](auto block, auto groups) {
      const int64_t most = int64_t{cuda::kForwardBlocks<block()>} * device.sm_count();
      const auto kernel = delta != nullptr
                              ? cuda::rmsnorm_forward_rows_kernel<block(), groups(), true>
                              : cuda::rmsnorm_forward_rows_kernel<block(), groups(), false>;
      cuda::launch_early(kernel, static_cast<unsigned>(std::min(T, most)), block(), 0, device, out,
                         ld_out, rstd, sum, residual, delta, weight, T, static_cast<int>(H), eps);
    });
  }
  cuda::check_launch("rmsnorm_forward");
}

void ops::rmsnorm_backward(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                           const float* rstd, const float* weight, int64_t T, int64_t H,
                           Device& d) {
  if (T <= 0) return;
  cuda::CudaDevice& device = cuda::cuda_device(d);
  const bool in_registers = H <= cuda::kMostColumns && cuda::rows_aligned(dout, ld_out) &&
                            cuda::rows_aligned(dresidual, H) && cuda::rows_aligned(x, H) &&
                            cuda::rows_aligned(weight, 8);
  if (!in_registers) {
    cuda::rmsnorm_backward_kernel<<<static_cast<unsigned>(T), cuda::kThreads, 0, device.stream()>>>(
        dresidual, dout, ld_out, x, rstd, weight, H);
  } else {
    cuda::for_row_shape(H, [&](auto block, auto groups) {
      const int64_t most = int64_t{cuda::kBackwardBlocks<block()>} * device.sm_count();
      cuda::rmsnorm_backward_rows_kernel<block(), groups()>
          <<<static_cast<unsigned>(std::min(T, most)), block(), 0, device.stream()>>>(
              dresidual, dout, ld_out, x, rstd, weight, T, static_cast<int>(H));
    });
  }
  cuda::check_launch("rmsnorm_backward");
}

}  // namespace qlora
