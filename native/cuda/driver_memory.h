// What the driver knows about a GPU's memory without a CUDA context on it.
#pragma once

#include <cstdint>

namespace qlora {
namespace cuda {

// Bytes in use on the GPU by every process; −1 where the driver's management library (NVML) is
// missing. Creates no context, so that a difference shows what one takes.
int64_t driver_used_bytes(int ordinal);

}  // namespace cuda
}  // namespace qlora
