// The final norm, the head and the cross-entropy, over the target rows only and a chunk of the
// vocabulary at a time: logits never exist whole, and the head is read twice for all targets, or
// comes over the bus once where it is in host memory.
#pragma once

#include "forward.h"

namespace qlora {

// Writes activations.nll (n).
void loss_forward(Pass& pass);
// The same, and last_dresidual = d(Σ weight · nll)/d(last residual), of the last rows.
void loss_forward_backward(Pass& pass);
// logits_host [n, V] of the target rows.
void read_logits(Pass& pass, float* logits_host);

}  // namespace qlora
