// A kernel that writes where nothing is: what a defect in a kernel does to the process.
#include "crash.h"

namespace {

__global__ void write_nowhere(int* nowhere) { *nowhere = 1; }

}  // namespace

void crash_the_gpu() {
  write_nowhere<<<1, 1>>>(reinterpret_cast<int*>(uintptr_t{64}));
  cudaDeviceSynchronize();
}
