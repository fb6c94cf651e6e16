// advance: what a decode step leaves for the next, so that steps can be queued without the host.
#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

// One block, so that all have read the number of the step before it moves on.
__global__ void __launch_bounds__(kThreads)
    advance_kernel(ops::DecodeRows state, const int32_t* tokens, const float* logprobs,
                   int64_t rows) {
  let_next_begin();
  await_previous();
  const int64_t step = *state.steps;
  for (int64_t i = threadIdx.x; i < rows; i += kThreads) {
    ops::SamplingRow& settings = state.settings[i];
    const int32_t token = tokens[i];
    state.all_tokens[step * rows + i] = token;
    state.all_logprobs[step * rows + i] = logprobs[i];
    state.ids[i] = token;
    state.positions[i] = min(state.positions[i] + 1, state.last_position);
    ++settings.counter;
    if (settings.repetition_penalty != 1.0f) state.history[settings.history_end++] = token;
  }
  __syncthreads();
  if (threadIdx.x == 0) *state.steps = static_cast<int32_t>(step) + 1;
}

}  // namespace
}  // namespace cuda

void ops::advance(const DecodeRows& state, const int32_t* tokens, const float* logprobs,
                  int64_t rows, Device& d) {
  if (rows == 0) return;
  cuda::launch_early(cuda::advance_kernel, 1, cuda::kThreads, 0, cuda::cuda_device(d), state, tokens,
                     logprobs, rows);
  cuda::check_launch("advance");
}

}  // namespace qlora
