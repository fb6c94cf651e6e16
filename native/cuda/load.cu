// load_act, load_f32: checkpoint bytes of any float type to bf16 or fp32. Bytes that need no
// conversion go straight to their place; others pass through the staging memory and a kernel.
#include <cuda_fp16.h>

#include <string>

#include "common.cuh"
#include "error.h"

namespace qlora {
namespace cuda {
namespace {

__device__ float source_float(float x) { return x; }
__device__ float source_float(__half x) { return __half2float(x); }
__device__ float source_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class To, class From>
__global__ void convert_kernel(To* dst, const From* src, int64_t count) {
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    dst[i] = from_float<To>(source_float(src[i]));
  }
}

template <class To, class From>
void convert(To* dst, const void* src, int64_t count, CudaDevice& device) {
  convert_kernel<<<blocks_for(count), kThreads, 0, device.stream()>>>(
      dst, static_cast<const From*>(src), count);
  check_launch("convert");
}

template <class To>
void load(To* dst, const void* src_host, int dtype, int64_t count, void* staging, int own_dtype,
          CudaDevice& device) {
  if (dtype != QLORA_F32 && dtype != QLORA_F16 && dtype != QLORA_BF16) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "dtype: expected F32, F16 or BF16, found " + std::to_string(dtype));
  }
  if (count <= 0) return;
  const size_t bytes = static_cast<size_t>(count) * (dtype == QLORA_F32 ? 4 : 2);
  device.copy_to_device(dtype == own_dtype ? static_cast<void*>(dst) : staging, src_host, bytes);
  if (dtype == own_dtype) return;
  if (dtype == QLORA_F32) {
    convert<To, float>(dst, staging, count, device);
  } else if (dtype == QLORA_F16) {
    convert<To, __half>(dst, staging, count, device);
  } else {
    convert<To, __nv_bfloat16>(dst, staging, count, device);
  }
}

}  // namespace
}  // namespace cuda

void ops::load_act(act_t* dst, const void* src_host, int dtype, int64_t count, void* staging,
                   Device& d) {
  cuda::load(dst, src_host, dtype, count, staging, QLORA_BF16, cuda::cuda_device(d));
}

void ops::load_f32(float* dst, const void* src_host, int dtype, int64_t count, void* staging,
                   Device& d) {
  cuda::load(dst, src_host, dtype, count, staging, QLORA_F32, cuda::cuda_device(d));
}

}  // namespace qlora
