// The ops that only move or add numbers.
//   scale_cast         dst = scale · src
//   bias_forward       y += bias
//   embedding_forward  out[t] = table[ids[t]]
//   gather_rows        out[i] = x[rows[i]]
//   scatter_add_rows   dx[rows[i]] += dout[i], i ascending
//   accumulate         dst += src
#include "common.cuh"
#include "rows.cuh"

namespace qlora {
namespace cuda {
namespace {

template <bool kAligned>
__global__ void scale_cast_kernel(act_t* dst, int64_t ld, const float* src, int64_t rows,
                                  int64_t cols, float scale) {
  const int64_t c = group_column();
  if (c >= cols) return;
  for (int64_t row = first_row(); row < rows; row += row_stride()) {
    Float8 x = load_row8<kAligned>(src + row * cols, c, cols);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] *= scale;
    store_row8<kAligned>(dst + row * ld, c, cols, x);
  }
}

template <bool kAligned>
__global__ void bias_kernel(act_t* y, int64_t ld, const float* bias, int64_t T, int64_t C) {
  const int64_t c = group_column();
  if (c >= C) return;
  const Float8 b = load_row8<kAligned>(bias, c, C);
  for (int64_t t = first_row(); t < T; t += row_stride()) {
    Float8 x = load_row8<kAligned>(y + t * ld, c, C);
#pragma unroll
    for (int i = 0; i < 8; ++i) x.v[i] += b.v[i];
    store_row8<kAligned>(y + t * ld, c, C, x);
  }
}

template <bool kAligned>
__global__ void gather_kernel(act_t* out, const act_t* x, int64_t ld, const int32_t* rows,
                              int64_t n, int64_t H) {
  const int64_t c = group_column();
  if (c >= H) return;
  for (int64_t i = first_row(); i < n; i += row_stride()) {
    const act_t* const from = x + int64_t{rows[i]} * ld;
    act_t* const to = out + i * ld;
    if (kAligned && c + 8 <= H) {
      *reinterpret_cast<uint4*>(to + c) = *reinterpret_cast<const uint4*>(from + c);
    } else {
      for (int64_t j = c; j < H && j < c + 8; ++j) to[j] = from[j];
    }
  }
}

// rows ascend, so those that repeat are neighbours: the first of a run adds the whole run up in
// order and writes once.
template <bool kAligned>
__global__ void scatter_add_kernel(act_t* dx, const act_t* dout, int64_t ld, const int32_t* rows,
                                   int64_t n, int64_t H) {
  const int64_t c = group_column();
  if (c >= H) return;
  for (int64_t i = first_row(); i < n; i += row_stride()) {
    const int32_t row = rows[i];
    if (i > 0 && rows[i - 1] == row) continue;
    act_t* const to = dx + int64_t{row} * ld;
    Float8 sum = load_row8<kAligned>(to, c, H);
    for (int64_t j = i; j < n && rows[j] == row; ++j) {
      const Float8 x = load_row8<kAligned>(dout + j * ld, c, H);
#pragma unroll
      for (int k = 0; k < 8; ++k) sum.v[k] += x.v[k];
    }
    store_row8<kAligned>(to, c, H, sum);
  }
}

__global__ void __launch_bounds__(kThreads)
    accumulate_kernel(float* dst, const float* src, int64_t count) {
  for (int64_t i = first_item(); i < count; i += item_stride()) dst[i] += src[i];
}
__global__ void __launch_bounds__(kThreads)
    accumulate_quads_kernel(float4* dst, const float4* src, int64_t quads) {
  for (int64_t i = first_item(); i < quads; i += item_stride()) {
    const float4 a = dst[i], b = src[i];
    dst[i] = make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
}

}  // namespace
}  // namespace cuda

void ops::scale_cast(act_t* dst, int64_t ld, const float* src, int64_t rows, int64_t cols,
                     float scale, Device& d) {
  if (rows <= 0 || cols <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(rows, cols);
  const auto kernel = cuda::rows_aligned(dst, ld) && cuda::rows_aligned(src, cols)
                          ? cuda::scale_cast_kernel<true>
                          : cuda::scale_cast_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(dst, ld, src, rows, cols, scale);
  cuda::check_launch("scale_cast");
}

void ops::bias_forward(act_t* y, int64_t ld, const float* bias, int64_t T, int64_t C, Device& d) {
  if (T <= 0 || C <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(T, C);
  const auto kernel = cuda::rows_aligned(y, ld) && cuda::rows_aligned(bias, 8)
                          ? cuda::bias_kernel<true>
                          : cuda::bias_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(y, ld, bias, T, C);
  cuda::check_launch("bias_forward");
}

void ops::gather_rows(act_t* out, const act_t* x, int64_t ld, const int32_t* rows, int64_t n,
                      int64_t H, Device& d) {
  if (n <= 0 || H <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(n, H);
  const auto kernel = cuda::rows_aligned(out, ld) && cuda::rows_aligned(x, ld)
                          ? cuda::gather_kernel<true>
                          : cuda::gather_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(out, x, ld, rows, n, H);
  cuda::check_launch("gather_rows");
}

void ops::embedding_forward(act_t* out, const int32_t* ids, const act_t* table, int64_t T,
                            int64_t H, Device& d) {
  gather_rows(out, table, H, ids, T, H, d);
}

void ops::scatter_add_rows(act_t* dx, const act_t* dout, int64_t ld, const int32_t* rows, int64_t n,
                           int64_t H, Device& d) {
  if (n <= 0 || H <= 0) return;
  const cuda::RowGrid g = cuda::row_grid(n, H);
  const auto kernel = cuda::rows_aligned(dx, ld) && cuda::rows_aligned(dout, ld)
                          ? cuda::scatter_add_kernel<true>
                          : cuda::scatter_add_kernel<false>;
  kernel<<<g.grid, g.block, 0, cuda::cuda_device(d).stream()>>>(dx, dout, ld, rows, n, H);
  cuda::check_launch("scatter_add_rows");
}

void ops::accumulate(float* dst, const float* src, int64_t count, Device& d) {
  if (count <= 0) return;
  const cudaStream_t stream = cuda::cuda_device(d).stream();
  const bool aligned = cuda::rows_aligned(dst, 4) && cuda::rows_aligned(src, 4);
  const int64_t quads = aligned ? count / 4 : 0, done = 4 * quads;
  if (quads > 0) {
    cuda::accumulate_quads_kernel<<<cuda::blocks_for(quads), cuda::kThreads, 0, stream>>>(
        reinterpret_cast<float4*>(dst), reinterpret_cast<const float4*>(src), quads);
    cuda::check_launch("accumulate");
  }
  if (done == count) return;
  cuda::accumulate_kernel<<<cuda::blocks_for(count - done), cuda::kThreads, 0, stream>>>(
      dst + done, src + done, count - done);
  cuda::check_launch("accumulate");
}

}  // namespace qlora
