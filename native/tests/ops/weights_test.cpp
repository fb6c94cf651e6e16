// Loading, NF4, double quantisation, dequantising and random filling.
#include <algorithm>

#include "nf4.h"
#include "op_test.h"
#include "qlora.h"

namespace {

using op_test::Matrix;
using op_test::Numbers;

OP_TEST(load_converts_every_float_type_at_any_alignment) {
  // sign, exponent and mantissa edges: 1, −2, the largest, a subnormal, ±0, infinity
  const std::vector<uint16_t> f16 = {0x3C00, 0xC000, 0x7BFF, 0x0001, 0x8000, 0x7C00, 0x3555};
  const std::vector<uint16_t> bf16 = {0x3F80, 0xC000, 0x7F7F, 0x0001, 0x8000, 0x7F80, 0x3EAB};
  const Numbers want16 = {1.0f,  -2.0f,    65504.0f,       5.9604644775390625e-8f,
                          -0.0f, INFINITY, 0.333251953125f};
  const Numbers want_b = {
      1.0f, -2.0f, 3.3895313892515355e38f, 9.183549615799121e-41f, -0.0f, INFINITY, 0.333984375f};
  std::vector<unsigned char> bytes(64);
  Numbers got(7);
  std::memcpy(bytes.data() + 1, f16.data(), 14);
  qlora::ops::load_f32(got.data(), bytes.data() + 1, QLORA_F16, 7, nullptr, op_test::device(2));
  EXPECT(op_test::same_bits(got, want16), "F16");
  std::memcpy(bytes.data() + 1, bf16.data(), 14);
  qlora::ops::load_act(got.data(), bytes.data() + 1, QLORA_BF16, 7, nullptr, op_test::device(2));
  EXPECT(op_test::same_bits(got, want_b), "BF16");
  std::memcpy(bytes.data() + 3, want16.data(), 28);
  qlora::ops::load_f32(got.data(), bytes.data() + 3, QLORA_F32, 7, nullptr, op_test::device(1));
  EXPECT(op_test::same_bits(got, want16), "F32");
}

// Nearest of the sixteen values by search; the lower one on ties, as strict thresholds give it.
int nearest(double x) {
  int best = 0;
  for (int code = 1; code < 16; ++code) {
    const double middle = (double(qlora::cpu::kNf4[code - 1]) + double(qlora::cpu::kNf4[code])) / 2;
    if (x > double(static_cast<float>(middle))) best = code;
  }
  return best;
}

OP_TEST(nf4_takes_the_nearest_value) {
  for (const int64_t count : {int64_t{1}, int64_t{63}, int64_t{64}, int64_t{65}, int64_t{4099}}) {
    const std::string name = "count " + std::to_string(count);
    Numbers values = op_test::normal(count, 1);
    for (int64_t i = 64; i < std::min<int64_t>(128, count); ++i) values[size_t(i)] = 0.0f;
    const int64_t blocks = (count + 63) / 64;
    Numbers absmax(size_t(blocks), NAN);
    const auto packed = op_test::on_all_thread_counts<uint8_t>(name, [&](qlora::Device& device) {
      std::vector<uint8_t> bytes(size_t((count + 1) / 2), 0xEE);
      qlora::ops::nf4_quantize(bytes.data(), absmax.data(), values.data(), count, device);
      return bytes;
    });
    for (int64_t i = 0; i < count; ++i) {
      const int64_t begin = i / 64 * 64, end = std::min(count, begin + 64);
      float largest = 0.0f;
      for (int64_t j = begin; j < end; ++j)
        largest = std::max(largest, std::fabs(values[size_t(j)]));
      const int code = i % 2 == 0 ? packed[size_t(i / 2)] >> 4 : packed[size_t(i / 2)] & 15;
      EXPECT(absmax[size_t(i / 64)] == std::max(largest, end - begin < 64 ? 1e-38f : 0.0f), name);
      const double x = largest > 0.0f ? double(values[size_t(i)]) / double(largest) : 0.0;
      const double step = std::fabs(double(qlora::cpu::kNf4[code]) - x);
      const double best = std::fabs(double(qlora::cpu::kNf4[nearest(x)]) - x);
      EXPECT(step <= best + 1e-6, name + " element " + std::to_string(i));
    }
    if (count % 2 != 0) EXPECT((packed.back() & 15) == 7, "an odd count is filled with zero");
  }
}

OP_TEST(nf4_thresholds_are_exclusive) {
  Numbers values(64, 0.0f);
  values[0] = 1.0f;
  for (int code = 0; code < 15; ++code) {
    values[size_t(1 + code)] = (qlora::cpu::kNf4[code] + qlora::cpu::kNf4[code + 1]) / 2.0f;
    values[size_t(20 + code)] = std::nextafter(values[size_t(1 + code)], 2.0f);
  }
  std::vector<uint8_t> packed(32);
  float absmax = 0.0f;
  qlora::ops::nf4_quantize(packed.data(), &absmax, values.data(), 64, op_test::device(1));
  const auto code_at = [&](int i) {
    return i % 2 == 0 ? packed[size_t(i / 2)] >> 4 : packed[size_t(i / 2)] & 15;
  };
  for (int code = 0; code < 15; ++code) {
    EXPECT(code_at(1 + code) == code, "on the threshold above " + std::to_string(code));
    EXPECT(code_at(20 + code) == code + 1, "just above the threshold");
  }
}

OP_TEST(dynamic_map_has_the_published_values) {
  const float* const map = qlora::cpu::dynamic_map();
  EXPECT(std::is_sorted(map, map + 256), "ascending");
  EXPECT(map[0] == -0.99296874f && map[255] == 1.0f && map[127] == 0.0f, "ends and zero");
  EXPECT(std::fabs(map[128] - 5.5e-7f) < 1e-12f, "the smallest");
  for (int i = 0; i < 127; ++i) EXPECT(map[i] == -map[254 - i], "both signs");
}

OP_TEST(double_quantisation_keeps_absmax_within_half_a_step) {
  const int64_t count = 700;
  Numbers absmax = op_test::normal(count, 1, 0.01f);
  for (float& value : absmax) value = std::fabs(value) + 0.02f;
  std::vector<uint8_t> codes(size_t(count), 0xEE);
  Numbers absmax2(3, NAN), back(size_t(count), NAN);
  float offset = NAN;
  qlora::ops::absmax_quantize(codes.data(), absmax2.data(), &offset, absmax.data(), count,
                              op_test::device(1));
  qlora::ops::absmax_dequantize(back.data(), codes.data(), absmax2.data(), offset, count,
                                op_test::device(2));
  double mean = 0.0;
  for (const float value : absmax) mean += double(value) / double(count);
  EXPECT(std::fabs(double(offset) - mean) < 1e-8, "offset is the mean");
  for (int64_t i = 0; i < count; ++i) {
    const float scale = absmax2[size_t(i / 256)];
    // the map's widest step is .0141 of the block's largest
    EXPECT(std::fabs(back[size_t(i)] - absmax[size_t(i)]) <= 0.0072f * scale, std::to_string(i));
  }
  const Numbers same(300, 0.25f);
  qlora::ops::absmax_quantize(codes.data(), absmax2.data(), &offset, same.data(), 300,
                              op_test::device(1));
  qlora::ops::absmax_dequantize(back.data(), codes.data(), absmax2.data(), offset, 300,
                                op_test::device(1));
  EXPECT(back[0] == 0.25f && back[299] == 0.25f, "equal values come back");
}

OP_TEST(dequantize_reads_windows_that_begin_anywhere) {
  for (const int64_t in : {int64_t{64}, int64_t{7}, int64_t{100}, int64_t{129}}) {
    for (const bool is_double : {false, true}) {
      const int64_t out = 9, n = out * in, blocks = (n + 63) / 64;
      const std::string name = "in " + std::to_string(in) + (is_double ? " double" : "");
      const Numbers values = op_test::normal(n, 1);
      std::vector<uint8_t> packed(size_t((n + 1) / 2)), codes(static_cast<size_t>(blocks));
      Numbers absmax(static_cast<size_t>(blocks)), absmax2(size_t((blocks + 255) / 256));
      qlora::ops::Weight w;
      w.out = out;
      w.in = in;
      w.packed = packed.data();
      w.absmax = absmax.data();
      qlora::ops::nf4_quantize(packed.data(), absmax.data(), values.data(), n, op_test::device(1));
      if (is_double) {
        qlora::ops::absmax_quantize(codes.data(), absmax2.data(), &w.absmax_offset, absmax.data(),
                                    blocks, op_test::device(1));
        qlora::ops::absmax_dequantize(absmax.data(), codes.data(), absmax2.data(), w.absmax_offset,
                                      blocks, op_test::device(1));
        w.absmax = nullptr;
        w.absmax_codes = codes.data();
        w.absmax2 = absmax2.data();
      }
      const int64_t first = 2, rows = 5;
      for (const int64_t column : {int64_t{0}, int64_t{1}, in / 2}) {
        const int64_t columns = column == 0 ? in : in / 2;
        const auto got = op_test::on_all_thread_counts<double>(name, [&](qlora::Device& device) {
          Matrix dst(rows, columns, columns + 3);
          qlora::ops::dequantize(dst.data(), dst.ld, w, first, rows, column, columns, device);
          EXPECT(dst.guards_intact(), name);
          return op_test::doubles(dst);
        });
        for (int64_t i = 0; i < rows * columns; ++i) {
          const int64_t at = (first + i / columns) * in + column + i % columns;
          const int code = at % 2 == 0 ? packed[size_t(at / 2)] >> 4 : packed[size_t(at / 2)] & 15;
          const float want = qlora::cpu::kNf4[code] * absmax[size_t(at / 64)];
          EXPECT(got[size_t(i)] == double(want), name + " element " + std::to_string(i));
        }
      }
    }
  }
}

OP_TEST(plain_weights_are_copied) {
  const Matrix source = Matrix::of(6, 10, 13, 1);
  qlora::ops::Weight w;
  w.out = 6;
  w.in = 10;
  w.plain = source.data();
  w.ld = source.ld;
  Matrix dst(3, 7, 11);
  qlora::ops::dequantize(dst.data(), dst.ld, w, 2, 3, 1, 7, op_test::device(1));
  for (int64_t i = 0; i < 21; ++i) EXPECT(dst(i / 7, i % 7) == source(2 + i / 7, 1 + i % 7), "row");
  EXPECT(dst.guards_intact(), "guards");
}

OP_TEST(random_numbers_have_their_moments_and_streams) {
  const int64_t count = 100001;
  const auto draw = [&](uint64_t seed, uint64_t stream, bool is_normal) {
    return op_test::on_all_thread_counts<float>("random", [&](qlora::Device& device) {
      Numbers values(size_t(count), NAN);
      if (is_normal) {
        qlora::ops::random_normal(values.data(), count, seed, stream, 2.0, device);
      } else {
        qlora::ops::random_uniform(values.data(), count, seed, stream, 0.5, device);
      }
      return values;
    });
  };
  for (const bool is_normal : {true, false}) {
    const Numbers values = draw(7, 3, is_normal);
    double mean = 0.0, square = 0.0;
    for (const float value : values) {
      mean += double(value) / double(count);
      square += double(value) * double(value) / double(count);
    }
    const double variance = is_normal ? 4.0 : 1.0 / 12.0;
    EXPECT(std::fabs(mean) < 5 * std::sqrt(variance / double(count)), "mean");
    EXPECT(std::fabs(square / variance - 1.0) < 0.03, "variance");
    EXPECT(!op_test::same_bits(values, draw(7, 4, is_normal)), "another stream differs");
    EXPECT(!op_test::same_bits(values, draw(8, 3, is_normal)), "another seed differs");
    if (!is_normal) {
      const auto ends = std::minmax_element(values.begin(), values.end());
      EXPECT(*ends.first >= -0.5f && *ends.second < 0.5f, "within the bound");
    }
  }
}

}  // namespace
