#include "tensor_map.h"

#include <string>

#include "cuda_device.h"
#include "error.h"

namespace qlora {
namespace cuda {
namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// From the driver: the library does not link against it.
Encode encode() {
  static const Encode found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                           cudaEnableDefault, &result),
          "looking for the driver's cuTensorMapEncodeTiled");
#else
    check(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &entry, cudaEnableDefault, &result),
          "looking for the driver's cuTensorMapEncodeTiled");
#endif
    if (result != cudaDriverEntryPointSuccess || entry == nullptr) {
      throw Error(QLORA_ERROR_UNSUPPORTED,
                  "expected a driver with cuTensorMapEncodeTiled (CUDA 12.0 or later), found none; "
                  "update the NVIDIA driver");
    }
    return reinterpret_cast<Encode>(entry);
  }();
  return found;
}

CUtensorMap map_of(const void* data, const TensorShape& shape, CUtensorMapDataType type,
                   CUtensorMapSwizzle swizzle) {
  const cuuint64_t sizes[2] = {static_cast<cuuint64_t>(shape.columns),
                               static_cast<cuuint64_t>(shape.rows)};
  const cuuint64_t pitch[1] = {static_cast<cuuint64_t>(shape.pitch)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(shape.box_columns),
                             static_cast<cuuint32_t>(shape.box_rows)};
  const cuuint32_t every[2] = {1, 1};
  CUtensorMap map;
  const CUresult status =
      encode()(&map, type, 2, const_cast<void*>(data), sizes, pitch, box, every,
               CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw Error(QLORA_ERROR_DEVICE,
                "describing a matrix of " + std::to_string(shape.rows) + " rows of " +
                    std::to_string(shape.columns) + ", " + std::to_string(shape.pitch) +
                    " bytes apart, to the copy engine failed with driver error " +
                    std::to_string(static_cast<int>(status)));
  }
  return map;
}

}  // namespace

CUtensorMap byte_map(const void* data, const TensorShape& shape) {
  return map_of(data, shape, CU_TENSOR_MAP_DATA_TYPE_UINT8, CU_TENSOR_MAP_SWIZZLE_NONE);
}

CUtensorMap tile_map(const void* data, const TensorShape& shape) {
  return map_of(data, shape, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, CU_TENSOR_MAP_SWIZZLE_128B);
}

}  // namespace cuda
}  // namespace qlora
