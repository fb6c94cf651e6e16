// For the failure tests: loses the GPU for the rest of the process.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

void crash_the_gpu();
