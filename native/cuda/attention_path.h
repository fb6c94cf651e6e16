// Which tensor-core kernels attention takes; they agree but for rounding. The device decides; tests
// and benches go through all that it can run.
#pragma once

#include "ops.h"

namespace qlora {
namespace cuda {

enum class AttentionPath {
  automatic,
  small_tiles,  // mma.sync, at most 48 KB of shared memory a forward block
  large_tiles,  // mma.sync, 64 KB
  hopper,       // wgmma, sm_90a
};

// Holds for all later calls, of every device. False, and nothing is changed, where the device or
// this build cannot take the path.
bool select_attention_path(AttentionPath path, Device& d);

}  // namespace cuda
}  // namespace qlora
