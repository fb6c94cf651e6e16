// scale_cast, fill_zero_2d, bias, embedding, gather and scatter of rows, accumulate.
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

CUDA_OP_TEST(fill_zero_2d) {
  for (const Size& s : kSizes) {
    const Matrix dst(s.rows, s.cols, s.cols + s.gap);
    ops::fill_zero_2d(dst.data(), dst.ld(), s.rows, s.cols, device());
    expect(dst.read() == Doubles(size_t(s.rows * s.cols), 0.0),
           shape("not zero: rows", s.rows, "cols", s.cols));
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
    const Matrix from(table, table_rows, s.cols, s.cols), out(s.rows, s.cols, s.cols);
    const Buffer<int32_t> rows(ids);
    if (embedding) {
      ops::embedding_forward(out.data(), rows.data(), from.data(), s.rows, s.cols, device());
    } else {
      ops::gather_rows(out.data(), from.data(), rows.data(), s.rows, s.cols, device());
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
    const Matrix from(dout, s.rows, s.cols, s.cols);
    const Buffer<int32_t> index(rows);
    compare(name, twice(name, [&] {
              const Matrix dx(start, out_rows, s.cols, s.cols);
              ops::scatter_add_rows(dx.data(), from.data(), index.data(), s.rows, s.cols, device());
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
