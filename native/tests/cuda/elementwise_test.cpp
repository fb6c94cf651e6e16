// scale_cast, its windows, bias, embedding, gather and scatter of rows, accumulate.
#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

struct Size {
  int64_t rows, cols, gap;
};
const Size kSizes[] = {{1, 1, 0},   {1, 16, 0},    {5, 123, 7},
                       {7, 16, 48}, {300, 64, 16}, {33, 4096, 16}};

CUDA_OP_TEST(scale_cast) {
  for (const Size& s : kSizes) {
    const std::string name = shape("rows", s.rows, "cols", s.cols);
    const Doubles src = normal_f32(s.rows * s.cols, 1);
    const Buffer<float> from = f32_buffer(src);
    Doubles want = src, naive = bf16(src);
    for (double& x : want) x *= 0.75;
    for (double& x : naive) x = bf16(0.75 * x);
    compare(name, twice(name, [&] {
              const Matrix dst(s.rows, s.cols, s.cols + s.gap);
              ops::scale_cast(dst.data(), dst.ld(), from.data(), s.rows, s.cols, 0.75f, device());
              return dst.read();
            }),
            want, naive);
  }
}

// More windows than one launch takes, of many shapes; src's columns somewhere among the window's.
CUDA_OP_TEST(scale_cast_windows) {
  std::vector<ops::CastWindow> windows;
  std::vector<Matrix> results;
  std::vector<Buffer<float>> sources;
  std::vector<Doubles> wanted, naive;
  for (int i = 0; i < 150; ++i) {
    const int64_t rows = i == 7 ? 5000 : 1 + i % 9;
    const int64_t src_cols = i % 5 == 4 ? 0 : i % 4 == 0 ? 16 : 1 + i % 21;
    const int64_t begin = i % 3 * 16 + (i % 7 == 0 ? 1 : 0);
    const int64_t cols = begin + src_cols + i % 2 * 24 + 1;
    const Doubles src = normal_f32(std::max<int64_t>(1, rows * src_cols), uint32_t(i));
    const float scale = i % 2 == 0 ? 1.0f : 0.75f;
    Doubles want(size_t(rows * cols), 0.0), rounded = want;
    for (int64_t k = 0; k < rows * src_cols; ++k) {
      const size_t at = size_t(k / src_cols * cols + begin + k % src_cols);
      want[at] = double(scale) * src[size_t(k)];
      rounded[at] = bf16(double(scale) * bf16(src[size_t(k)]));
    }
    sources.push_back(f32_buffer(src));
    results.emplace_back(rows, cols, cols + i % 11);
    windows.push_back({results.back().data(), results.back().ld(),
                       src_cols > 0 ? sources.back().data() : nullptr, rows,
                       static_cast<int32_t>(cols), static_cast<int32_t>(begin),
                       static_cast<int32_t>(src_cols), scale});
    wanted.push_back(want);
    naive.push_back(rounded);
  }
  ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device());
  for (size_t i = 0; i < windows.size(); ++i) {
    compare(shape("window", i), results[i].read(), wanted[i], naive[i]);
  }
}

CUDA_OP_TEST(bias_forward) {
  for (const Size& s : kSizes) {
    const std::string name = shape("T", s.rows, "C", s.cols);
    const Doubles start = normal_bf16(s.rows * s.cols, 1), bias = normal_f32(s.cols, 2);
    const Buffer<float> b = f32_buffer(bias);
    Doubles want = start, naive = start;
    for (size_t i = 0; i < want.size(); ++i) {
      want[i] += bias[i % size_t(s.cols)];
      naive[i] = bf16(start[i] + bf16(bias[i % size_t(s.cols)]));
    }
    compare(name, twice(name, [&] {
              const Matrix y(start, s.rows, s.cols, s.cols + s.gap);
              ops::bias_forward(y.data(), y.ld(), b.data(), s.rows, s.cols, device());
              return y.read();
            }),
            want, naive);
  }
}

void check_gather(bool embedding) {
  for (const Size& s : kSizes) {
    const int64_t table_rows = 11;
    const Doubles table = normal_bf16(table_rows * s.cols, 1);
    std::vector<int32_t> ids;
    Doubles want;
    for (int64_t i = 0; i < s.rows; ++i) {
      ids.push_back(static_cast<int32_t>((7 * i + 3) % table_rows));
      const int64_t begin = ids.back() * s.cols;
      want.insert(want.end(), table.begin() + begin, table.begin() + begin + s.cols);
    }
    const int64_t ld = embedding ? s.cols : s.cols + s.gap;
    const Matrix from(table, table_rows, s.cols, ld), out(s.rows, s.cols, ld);
    const Buffer<int32_t> rows(ids);
    if (embedding) {
      ops::embedding_forward(out.data(), rows.data(), from.data(), s.rows, s.cols, device());
    } else {
      ops::gather_rows(out.data(), from.data(), ld, rows.data(), s.rows, s.cols, device());
    }
    expect(out.read() == want, shape("rows", s.rows, "cols", s.cols, "not the rows asked for"));
  }
}
CUDA_OP_TEST(embedding_forward) { check_gather(true); }
CUDA_OP_TEST(gather_rows) { check_gather(false); }

CUDA_OP_TEST(scatter_add_rows) {
  for (const Size& s : kSizes) {
    const std::string name = shape("n", s.rows, "H", s.cols);
    const int64_t out_rows = s.rows + 2;
    std::vector<int32_t> rows;  // ascending, some of them repeated
    for (int64_t i = 0; i < s.rows; ++i) rows.push_back(static_cast<int32_t>(1 + i * 2 / 3));
    const Doubles start = normal_bf16(out_rows * s.cols, 1), dout = normal_bf16(s.rows * s.cols, 2);
    Doubles want = start, naive = start;
    for (int64_t i = 0; i < s.rows; ++i) {
      for (int64_t c = 0; c < s.cols; ++c) {
        const size_t to = size_t(rows[size_t(i)] * s.cols + c), from = size_t(i * s.cols + c);
        want[to] += dout[from];
        naive[to] = bf16(naive[to] + dout[from]);
      }
    }
    const int64_t ld = s.cols + s.gap;
    const Matrix from(dout, s.rows, s.cols, ld);
    const Buffer<int32_t> index(rows);
    compare(name, twice(name, [&] {
              const Matrix dx(start, out_rows, s.cols, ld);
              ops::scatter_add_rows(dx.data(), from.data(), ld, index.data(), s.rows, s.cols,
                                    device());
              return dx.read();
            }),
            want, naive);
  }
}

CUDA_OP_TEST(accumulate) {
  for (const int64_t count : {1, 3, 64, 1001, 100003}) {
    for (const int64_t offset : {0, 1}) {
      const Doubles a = normal_f32(count, 1), b = normal_f32(count, 2);
      Doubles want = a;
      for (size_t i = 0; i < want.size(); ++i) want[i] += b[i];
      const Buffer<float> dst(floats(a), offset), src(floats(b));
      ops::accumulate(dst.data(), src.data(), count, device());
      compare_within(shape("count", count, "offset", offset), doubles(dst.read()), want, 1e-7);
    }
  }
}

}  // namespace
