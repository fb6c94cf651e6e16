// scale_cast_windows: many windows dst = scale · src, zero beside src's columns, a launch for every
// kWindows of them: the table travels as the kernel's argument.
#include <algorithm>

#include "common.cuh"

namespace qlora {
namespace cuda {
namespace {

constexpr int kWindows = 64;  // 3 KB of the 4 KB an argument may have
struct Windows {
  ops::CastWindow window[kWindows];
};

// blockIdx.y: the window. Eight columns at a time.
__global__ void __launch_bounds__(kThreads)
    windows_kernel(const __grid_constant__ Windows windows) {
  const ops::CastWindow& w = windows.window[blockIdx.y];
  const bool aligned_dst = reinterpret_cast<uintptr_t>(w.dst) % 16 == 0 && w.ld % 8 == 0;
  const bool aligned_src =
      reinterpret_cast<uintptr_t>(w.src) % 16 == 0 && w.src_cols % 4 == 0 && w.src_begin % 8 == 0;
  const int64_t groups = ceil_div(w.cols, 8), count = w.rows * groups;
  for (int64_t i = first_item(); i < count; i += item_stride()) {
    const int64_t row = i / groups, c = i % groups * 8, from = c - w.src_begin;
    const float* const src = w.src + row * w.src_cols;
    Float8 x;
    if (aligned_src && from >= 0 && from + 8 <= w.src_cols) {
      x = load8(src + from);
    } else {
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int64_t at = from + k;
        x.v[k] = at >= 0 && at < w.src_cols ? src[at] : 0.0f;
      }
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) x.v[k] *= w.scale;
    act_t* const dst = w.dst + row * w.ld;
    if (aligned_dst && c + 8 <= w.cols) {
      store8(dst + c, x);
    } else {
      store_first8(dst + c, x, w.cols - c);
    }
  }
}

}  // namespace
}  // namespace cuda

void ops::scale_cast_windows(const CastWindow* windows_host, int64_t count, Device& d) {
  using namespace cuda;
  constexpr int64_t kMostBlocks = 256;  // a window
  for (int64_t first = 0; first < count; first += kWindows) {
    Windows windows;
    const int64_t n = std::min<int64_t>(kWindows, count - first);
    int64_t largest = 0;  // items of a window
    for (int64_t i = 0; i < n; ++i) {
      windows.window[i] = windows_host[first + i];
      largest = std::max(largest, windows.window[i].rows * ceil_div(windows.window[i].cols, 8));
    }
    if (largest == 0) continue;
    const dim3 grid(static_cast<unsigned>(std::min(kMostBlocks, ceil_div(largest, kThreads))),
                    static_cast<unsigned>(n));
    windows_kernel<<<grid, kThreads, 0, cuda_device(d).stream()>>>(windows);
    check_launch("scale_cast_windows");
  }
}

}  // namespace qlora
