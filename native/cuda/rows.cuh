// Launch shape of the kernels that visit a matrix in groups of eight columns: threadIdx.x and
// blockIdx.x walk over the groups of a row, threadIdx.y and blockIdx.y over the rows.
#pragma once

#include "common.cuh"

namespace qlora {
namespace cuda {

struct RowGrid {
  dim3 grid, block;
};

inline RowGrid row_grid(int64_t rows, int64_t cols) {
  const int64_t groups = ceil_div(cols, 8);
  unsigned width = 1;
  while (width < kThreads && width < groups) width *= 2;
  const unsigned height = kThreads / width;
  const int64_t most_rows = 65535;
  const int64_t row_blocks = ceil_div(rows, height);
  return {dim3(static_cast<unsigned>(ceil_div(groups, width)),
               static_cast<unsigned>(row_blocks < most_rows ? row_blocks : most_rows)),
          dim3(width, height)};
}

// First column of this thread's group; may lie behind the row's end.
__device__ inline int64_t group_column() {
  return (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * 8;
}
__device__ inline int64_t first_row() { return int64_t{blockIdx.y} * blockDim.y + threadIdx.y; }
__device__ inline int64_t row_stride() { return int64_t{gridDim.y} * blockDim.y; }

}  // namespace cuda
}  // namespace qlora
