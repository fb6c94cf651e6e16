// gemm: c = alpha · op(a) · op(b) + beta · c
//
// k is cut into blocks. Within a block, rows of op(a) are packed into panels of the tile's height
// and columns of op(b) into panels of its width, so that the tile kernel reads both contiguously.
// Workers share the packed b; each packs the rows of a it needs. When c has few rows, packing b
// would cost as much as the product: b is then read where it lies (when its columns are
// contiguous). When op(a) is stored transposed and c is narrow, cᵀ = op(b)ᵀ · op(a)ᵀ has this form.
//
// Every element is one chain of multiply-adds per block, in the order of k, blocks added in order:
// its bits do not depend on m, n, the threads or the path taken.
#include <algorithm>

#include "cpu_device.h"
#include "kernels.h"

namespace qlora {
namespace cpu {
namespace {

constexpr int64_t kBlockK = 512;                    // of a panel that stays in the first cache
constexpr int64_t kChunkPanels = 8;                 // panels of a packed together, per task
constexpr int64_t kNarrow = 48;                     // columns or rows that count as few
constexpr int64_t kPackedBytes = int64_t{8} << 20;  // of packed b at a time
constexpr int64_t kSweepColumns = 512;              // of packed b that stay in the second cache

struct Operand {
  const float* data;
  int64_t ld;
  bool trans;
  // Element (row, col) of op(matrix).
  const float* at(int64_t row, int64_t col) const {
    return data + (trans ? col * ld + row : row * ld + col);
  }
};

struct Product {
  float* c;
  int64_t ldc;
  bool transposed;  // c is stored as its transpose
  Operand a, b;
  int64_t m, n, k;
  float alpha, beta;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Evenly sized pieces of k: piece i of `count` begins here.
struct Blocks {
  int64_t k, count;
  explicit Blocks(int64_t size) : k(size), count(std::max<int64_t>(1, ceil_div(size, kBlockK))) {}
  int64_t begin(int64_t i) const { return k * i / count; }
  int64_t largest() const { return ceil_div(k, count); }
};

// Width of the panel that holds columns [j, n): the last one may be narrow.
int64_t panel_width(const GemmKernels& kernel, int64_t columns) {
  return columns > kernel.lanes ? kernel.tile_cols : kernel.lanes;
}

// One tile of c, through a buffer when c is stored transposed.
void put_tile(const GemmKernels& kernel, const Product& x, int64_t row, int64_t col,
              const float* a_panel, int64_t a_stride, const float* b, int64_t b_stride,
              int64_t rows, int64_t cols, int64_t k, float beta) {
  if (!x.transposed) {
    kernel.tile(x.c + row * x.ldc + col, x.ldc, a_panel, a_stride, b, b_stride, rows, cols, k,
                x.alpha, beta);
    return;
  }
  float buffer[1024];  // ≥ tile_rows · tile_cols
  const int64_t ld = kernel.tile_cols;
  float* const corner = x.c + col * x.ldc + row;
  if (beta != 0.0f) {
    for (int64_t j = 0; j < cols; ++j) {
      for (int64_t i = 0; i < rows; ++i) buffer[i * ld + j] = corner[j * x.ldc + i];
    }
  }
  kernel.tile(buffer, ld, a_panel, a_stride, b, b_stride, rows, cols, k, x.alpha, beta);
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = 0; i < rows; ++i) corner[j * x.ldc + i] = buffer[i * ld + j];
  }
}

// ---- many rows: b packed ----------------------------------------------------------------------

// Panels [panel_begin, panel_end) of a's rows × columns [col_begin, col_end) of c. packed: b's
// panels of the columns from `origin`, block by block, each block [panels][kc][tile_cols].
void product_chunk(const GemmKernels& kernel, const Product& x, const Blocks& blocks,
                   const float* packed, int64_t origin, int64_t packed_cols, int64_t panel_begin,
                   int64_t panel_end, int64_t col_begin, int64_t col_end, float* a_panels) {
  const int64_t tile_rows = kernel.tile_rows, tile_cols = kernel.tile_cols;
  for (int64_t block = 0; block < blocks.count; ++block) {
    const int64_t p = blocks.begin(block), kc = blocks.begin(block + 1) - p;
    const float beta = block == 0 ? x.beta : 1.0f;
    const float* const b_block = packed + p * ceil_div(packed_cols, tile_cols) * tile_cols;
    const auto a_panel = [&](int64_t panel) {
      return a_panels + (panel - panel_begin) * tile_rows * kc;
    };
    for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
      const int64_t row = panel * tile_rows;
      kernel.pack_a(a_panel(panel), tile_rows, x.a.at(row, p), x.a.ld, x.a.trans,
                    std::min(tile_rows, x.m - row), kc);
    }
    for (int64_t sweep = col_begin; sweep < col_end; sweep += kSweepColumns) {
      const int64_t sweep_end = std::min(col_end, sweep + kSweepColumns);
      for (int64_t panel = panel_begin; panel < panel_end; ++panel) {
        const int64_t row = panel * tile_rows, rows = std::min(tile_rows, x.m - row);
        for (int64_t col = sweep; col < sweep_end; col += tile_cols) {
          const int64_t cols = std::min(tile_cols, x.n - col);
          put_tile(kernel, x, row, col, a_panel(panel), tile_rows, b_block + (col - origin) * kc,
                   panel_width(kernel, cols), rows, cols, kc, beta);
        }
      }
    }
  }
}

void product_packed(const GemmKernels& kernel, const Product& x, CpuDevice& device) {
  const Blocks blocks(x.k);
  const int64_t tile_cols = kernel.tile_cols;
  const int64_t fits = kPackedBytes / (x.k * int64_t{sizeof(float)}) / tile_cols * tile_cols;
  const int64_t most = std::max(fits, tile_cols);
  const int64_t a_panels = ceil_div(x.m, kernel.tile_rows);
  const int64_t chunks = ceil_div(a_panels, kChunkPanels);
  const size_t a_floats = size_t(kChunkPanels * kernel.tile_rows * blocks.largest());
  device.reserve_worker_scratch(a_floats * sizeof(float));
  for (int64_t origin = 0; origin < x.n; origin += most) {
    const int64_t packed_cols = std::min(most, x.n - origin);
    const int64_t panels = ceil_div(packed_cols, tile_cols);
    float* const packed = device.shared_scratch(size_t(panels * tile_cols * x.k) * sizeof(float));
    device.parallel(panels * blocks.count, [&](int64_t task, int) {
      const int64_t panel = task / blocks.count, block = task % blocks.count;
      const int64_t p = blocks.begin(block), kc = blocks.begin(block + 1) - p;
      const int64_t col = origin + panel * tile_cols;
      const int64_t cols = std::min(tile_cols, x.n - col);
      kernel.pack_b(packed + (p * panels + panel * kc) * tile_cols, panel_width(kernel, cols),
                    x.b.at(p, col), x.b.ld, x.b.trans, cols, kc);
    });
    // Columns are cut too when the rows alone would leave threads without work.
    const int64_t wanted = int64_t{4} * device.pool().size();
    const int64_t cuts = std::min(panels, chunks >= wanted ? 1 : ceil_div(wanted, chunks));
    device.parallel(chunks * cuts, [&](int64_t task, int worker) {
      const int64_t chunk = task / cuts, cut = task % cuts;
      const int64_t col_begin = origin + panels * cut / cuts * tile_cols;
      const int64_t col_end =
          std::min(origin + panels * (cut + 1) / cuts * tile_cols, origin + packed_cols);
      product_chunk(kernel, x, blocks, packed, origin, packed_cols, a_panels * chunk / chunks,
                    a_panels * (chunk + 1) / chunks, col_begin, col_end,
                    device.worker_scratch(worker));
    });
  }
}

// ---- few rows: b read where it lies -----------------------------------------------------------

void product_direct(const GemmKernels& kernel, const Product& x, CpuDevice& device) {
  const Blocks blocks(x.k);
  const int64_t tile_cols = kernel.tile_cols;
  const int64_t panels = ceil_div(x.m, kernel.tile_rows);
  float* const a_panels =
      device.shared_scratch(size_t(panels * kernel.tile_rows * x.k) * sizeof(float));
  device.parallel(panels * blocks.count, [&](int64_t task, int) {
    const int64_t panel = task / blocks.count, block = task % blocks.count;
    const int64_t p = blocks.begin(block), kc = blocks.begin(block + 1) - p;
    const int64_t first = x.m * panel / panels, last = x.m * (panel + 1) / panels;
    kernel.pack_a(a_panels + (p * panels + panel * kc) * kernel.tile_rows, kernel.tile_rows,
                  x.a.at(first, p), x.a.ld, x.a.trans, last - first, kc);
  });
  device.reserve_worker_scratch(size_t(tile_cols * blocks.largest()) * sizeof(float));
  device.parallel(ceil_div(x.n, tile_cols), [&](int64_t task, int worker) {
    const int64_t col = task * tile_cols, cols = std::min(tile_cols, x.n - col);
    for (int64_t block = 0; block < blocks.count; ++block) {
      const int64_t p = blocks.begin(block), kc = blocks.begin(block + 1) - p;
      const float* b = x.b.at(p, col);
      int64_t b_stride = x.b.ld;
      if (cols % kernel.lanes != 0) {  // the edge would be read beyond its end
        b_stride = panel_width(kernel, cols);
        kernel.pack_b(device.worker_scratch(worker), b_stride, b, x.b.ld, false, cols, kc);
        b = device.worker_scratch(worker);
      }
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t first = x.m * panel / panels, last = x.m * (panel + 1) / panels;
        put_tile(kernel, x, first, col, a_panels + (p * panels + panel * kc) * kernel.tile_rows,
                 kernel.tile_rows, b, b_stride, last - first, cols, kc, block == 0 ? x.beta : 1.0f);
      }
    }
  });
}

// ---- the choice -------------------------------------------------------------------------------

void scale_only(const Product& x) {
  for (int64_t i = 0; i < x.m; ++i) {
    for (int64_t j = 0; j < x.n; ++j) {
      float* const out = x.c + i * x.ldc + j;
      *out = x.beta == 0.0f ? 0.0f : x.beta * *out;
    }
  }
}

void product(const Product& x, CpuDevice& device) {
  const GemmKernels& kernel = kernels().gemm;
  if (x.m <= 0 || x.n <= 0) return;
  if (x.k <= 0) {
    scale_only(x);
  } else if (x.m <= kNarrow && !x.b.trans) {
    product_direct(kernel, x, device);
  } else if (x.n <= kNarrow && x.a.trans) {
    const Operand a = {x.b.data, x.b.ld, !x.b.trans};
    const Operand b = {x.a.data, x.a.ld, false};
    product_direct(kernel, {x.c, x.ldc, true, a, b, x.n, x.m, x.k, x.alpha, x.beta}, device);
  } else {
    product_packed(kernel, x, device);
  }
}

}  // namespace
}  // namespace cpu

void ops::gemm_f32(float* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
                   int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                   float beta, Device& d) {
  cpu::product({c, ldc, false, {a, lda, trans_a}, {b, ldb, trans_b}, m, n, k, alpha, beta},
               cpu::cpu_device(d));
}

void ops::gemm(act_t* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
               int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
               Device& d) {
  gemm_f32(c, ldc, a, lda, trans_a, b, ldb, trans_b, m, n, k, alpha, beta, d);
}

}  // namespace qlora
