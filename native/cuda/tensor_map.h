// Descriptions of matrices in global memory by which Hopper's copy engine (TMA) brings boxes of
// them to shared memory: tensor_copy.cuh.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace qlora {
namespace cuda {

// A matrix of rows `pitch` bytes apart (a multiple of 16), from a multiple of 16 on; a box of it is
// box_rows · box_columns (at most 256 each) elements, zeros where the matrix ends.
struct TensorShape {
  int64_t rows, columns, pitch;
  int box_rows, box_columns;
};

// Boxes of bytes, as they lie.
CUtensorMap byte_map(const void* data, const TensorShape& shape);
// Boxes of bf16 of 64 columns, their 16-byte chunks permuted as wgmma.cuh's tiles.
CUtensorMap tile_map(const void* data, const TensorShape& shape);

}  // namespace cuda
}  // namespace qlora
