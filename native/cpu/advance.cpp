// advance: what a decode step leaves for the next.
#include <algorithm>

#include "ops.h"

namespace qlora {

void ops::advance(const DecodeRows& state, const int32_t* tokens, const float* logprobs,
                  int64_t rows, Device&) {
  const int64_t step = *state.steps;
  for (int64_t i = 0; i < rows; ++i) {
    SamplingRow& settings = state.settings[i];
    state.all_tokens[step * rows + i] = tokens[i];
    state.all_logprobs[step * rows + i] = logprobs[i];
    state.ids[i] = tokens[i];
    state.positions[i] = std::min(state.positions[i] + 1, state.last_position);
    ++settings.counter;
    if (settings.repetition_penalty != 1.0f) state.history[settings.history_end++] = tokens[i];
  }
  ++*state.steps;
}

}  // namespace qlora
