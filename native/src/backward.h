// The backward pass: from the gradient of the last residual to the LoRA gradients.
#pragma once

#include "forward.h"

namespace qlora {

// Begins with activations.last_dresidual; adds to gradients, which have the adapter's layout.
// Layers whose activations were not kept are computed again first.
void backward(Pass& pass, float* gradients);

}  // namespace qlora
