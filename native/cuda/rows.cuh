// Launch shape of the kernels that visit a matrix in groups of eight columns: threadIdx.x and
// blockIdx.x walk over the groups of a row, threadIdx.y and blockIdx.y over the rows. A thread may
// take several neighbouring rows at a time, so that it has more loads in flight.
#pragma once

#include "common.cuh"

namespace qlora {
namespace cuda {

struct RowGrid {
  dim3 grid, block;
};

inline RowGrid row_grid(int64_t rows, int64_t cols, int rows_at_once = 1) {
  const int64_t groups = ceil_div(cols, 8), blocks = ceil_div(groups, kThreads);
  unsigned width = 1;
  if (blocks > 1) {  // as few idle threads as possible in a row's last block
    width = static_cast<unsigned>(ceil_div(ceil_div(groups, blocks), kWarp) * kWarp);
  } else {
    while (width < groups) width *= 2;
  }
  const unsigned height = kThreads / width;
  const int64_t most_rows = 65535;
  const int64_t row_blocks = ceil_div(rows, int64_t{height} * rows_at_once);
  return {dim3(static_cast<unsigned>(blocks),
               static_cast<unsigned>(row_blocks < most_rows ? row_blocks : most_rows)),
          dim3(width, height)};
}

// First column of this thread's group; may lie behind the row's end.
__device__ inline int64_t group_column() {
  return (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 8;
}
__device__ inline int64_t first_row(int rows_at_once = 1) {
  return (int64_t{blockIdx.y} * blockDim.y + threadIdx.y) * rows_at_once;
}
__device__ inline int64_t row_stride(int rows_at_once = 1) {
  return int64_t{gridDim.y} * blockDim.y * rows_at_once;
}

}  // namespace cuda
}  // namespace qlora
