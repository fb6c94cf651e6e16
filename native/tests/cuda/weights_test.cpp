// Loading, NF4, double quantisation, dequantising, random filling.
#include <algorithm>

#include "cuda_test.h"
#include "qlora.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

constexpr float kCodes[16] = {-1.0f,
                              -0.6961928009986877f,
                              -0.5250730514526367f,
                              -0.39491748809814453f,
                              -0.28444138169288635f,
                              -0.18477343022823334f,
                              -0.09105003625154495f,
                              0.0f,
                              0.07958029955625534f,
                              0.16093020141124725f,
                              0.24611230194968634f,
                              0.33791524171829224f,
                              0.44070982933044434f,
                              0.5626170039176941f,
                              0.7229568362236023f,
                              1.0f};

// ---- load -------------------------------------------------------------------------------------

std::vector<uint16_t> f16_bits() {  // every finite half and the infinities
  std::vector<uint16_t> bits;
  for (uint32_t i = 0; i < 65536; ++i) {
    if ((i & 0x7c00u) != 0x7c00u || (i & 0x3ffu) == 0) bits.push_back(static_cast<uint16_t>(i));
  }
  return bits;
}

float f16_value(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  float magnitude = exponent == 31  ? INFINITY
                    : exponent == 0 ? std::ldexp(float(mantissa), -24)
                                    : std::ldexp(float(1024 + mantissa), exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

template <class T>
std::vector<unsigned char> bytes_of(const std::vector<T>& values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(T) + 1);  // from an odd address
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(T));
  return bytes;
}

CUDA_OP_TEST(load) {
  const std::vector<uint16_t> halves = f16_bits();
  std::vector<float> from_half;
  for (const uint16_t half : halves) from_half.push_back(f16_value(half));
  const int64_t n = static_cast<int64_t>(halves.size());
  const Buffer<float> staging(n), out(n);
  const auto host = bytes_of(halves);
  ops::load_f32(out.data(), host.data() + 1, QLORA_F16, n, staging.data(), device());
  expect(std::memcmp(out.read().data(), from_half.data(), size_t(n) * 4) == 0, "F16 to fp32");

  for (const int64_t count : {1, 7, 5001, 2500003}) {  // the last: more than the staging holds
    const Doubles values = normal_f32(count, 1), rounded = bf16(values);
    const Matrix act(1, count, count);
    const Buffer<float> full(count), scratch(count);
    const auto f32 = bytes_of(floats(values));
    ops::load_act(act.data(), f32.data() + 1, QLORA_F32, count, scratch.data(), device());
    expect(act.read() == stored(values), shape("F32 to activations, count", count));
    ops::load_f32(full.data(), f32.data() + 1, QLORA_F32, count, scratch.data(), device());
    expect(doubles(full.read()) == values, shape("F32 to fp32, count", count));

    std::vector<uint16_t> bits;
    for (const double value : rounded) {
      const float narrow = static_cast<float>(value);
      uint32_t word;
      std::memcpy(&word, &narrow, 4);
      bits.push_back(static_cast<uint16_t>(word >> 16));
    }
    const auto half = bytes_of(bits);
    ops::load_act(act.data(), half.data() + 1, QLORA_BF16, count, scratch.data(), device());
    expect(act.read() == rounded, shape("BF16 to activations, count", count));
    ops::load_f32(full.data(), half.data() + 1, QLORA_BF16, count, scratch.data(), device());
    expect(doubles(full.read()) == rounded, shape("BF16 to fp32, count", count));
  }
}

// ---- NF4 --------------------------------------------------------------------------------------

struct Quantized {
  std::vector<uint8_t> packed;
  std::vector<float> absmax;
};

int nf4_code(float x) {
  int code = 0;
  for (int i = 0; i < 15; ++i) code += x > (kCodes[i] + kCodes[i + 1]) / 2.0f;
  return code;
}

// One value at a time, as bitsandbytes on a CPU.
Quantized quantize(const std::vector<float>& values) {
  const size_t n = values.size();
  Quantized q{std::vector<uint8_t>((n + 1) / 2, 0), {}};
  for (size_t begin = 0; begin < n; begin += 64) {
    const size_t end = std::min(n, begin + 64);
    float largest = 0.0f;
    for (size_t i = begin; i < end; ++i) largest = std::max(largest, std::fabs(values[i]));
    const float divisor = std::max(largest, 1e-38f);
    q.absmax.push_back(end - begin < 64 ? divisor : largest);
    for (size_t i = begin; i < end; ++i) {
      const float unit = end - begin < 64 ? values[i] / divisor : values[i] * (1.0f / divisor);
      const int code = nf4_code(std::min(1.0f, std::max(-1.0f, unit)));
      q.packed[i / 2] = static_cast<uint8_t>(q.packed[i / 2] | code << (i % 2 == 0 ? 4 : 0));
    }
  }
  if (n % 2 != 0) q.packed.back() = static_cast<uint8_t>(q.packed.back() | 7);
  return q;
}

CUDA_OP_TEST(nf4_quantize) {
  for (const int64_t count : {1, 2, 63, 64, 65, 127, 4099, 1 << 18, (1 << 22) + 197}) {
    for (const int64_t offset : {0, 1}) {
      std::vector<float> values = floats(normal_f32(count, 1));
      for (int64_t i = 64; i < std::min<int64_t>(128, count); ++i) values[size_t(i)] = 0.0f;
      if (count >= 256) {  // on the thresholds themselves, and just above
        values[192] = 1.0f;
        for (int i = 0; i < 15; ++i) {
          values[size_t(193 + i)] = (kCodes[i] + kCodes[i + 1]) / 2.0f;
          values[size_t(208 + i)] = std::nextafter(values[size_t(193 + i)], 2.0f);
        }
        for (int i = 223; i < 256; ++i) values[size_t(i)] = 0.01f * float(i - 240);
      }
      const Quantized want = quantize(values);
      const Buffer<float> in(values, offset);
      const Buffer<uint8_t> packed(static_cast<int64_t>(want.packed.size()));
      const Buffer<float> absmax(static_cast<int64_t>(want.absmax.size()));
      ops::nf4_quantize(packed.data(), absmax.data(), in.data(), count, device());
      const std::string name = shape("count", count, "offset", offset);
      expect(packed.read() == want.packed, name + ": codes differ");
      expect(absmax.read() == want.absmax, name + ": absmax differs");
    }
  }
}

// Everywhere in [−1, 1] that a search of thirds or of powers of two might divide, and just beside it.
CUDA_OP_TEST(nf4_quantize_edges) {
  std::vector<float> points;
  for (const int parts : {32, 48}) {
    for (int i = -parts; i <= parts; ++i) {
      const float point = float(i) / float(parts);
      for (const float x : {std::nextafter(point, -2.0f), point, std::nextafter(point, 2.0f)}) {
        if (std::fabs(x) <= 1.0f) points.push_back(x);
      }
    }
  }
  std::vector<float> values;
  for (const float point : points) {
    if (values.size() % 64 == 0) values.push_back(values.size() % 128 == 0 ? 1.0f : -1.0f);
    values.push_back(point);
  }
  Quantized want = quantize(values);
  values[7] = NAN;  // takes the last code
  want.packed[3] = static_cast<uint8_t>(want.packed[3] | 15);
  const Buffer<float> in(values);
  const Buffer<uint8_t> packed(static_cast<int64_t>(want.packed.size()));
  const Buffer<float> absmax(static_cast<int64_t>(want.absmax.size()));
  ops::nf4_quantize(packed.data(), absmax.data(), in.data(), static_cast<int64_t>(values.size()),
                    device());
  expect(packed.read() == want.packed, "codes differ");
  expect(absmax.read() == want.absmax, "absmax differs");
}

// The signed dynamic map, from its definition.
std::vector<float> dynamic_map() {
  std::vector<float> map = {0.0f, 1.0f};
  for (int exponent = 0; exponent < 7; ++exponent) {
    const int points = (1 << exponent) + 1;
    const float step = (1.0f - 0.1f) / float(points - 1);
    const auto fraction = [&](int i) {
      return i < points / 2 ? std::fma(step, float(i), 0.1f)
                            : std::fma(-step, float(points - 1 - i), 1.0f);
    };
    const float power = static_cast<float>(std::pow(10.0, exponent - 6));
    for (int i = 0; i + 1 < points; ++i) {
      const float value = power * ((fraction(i) + fraction(i + 1)) / 2.0f);
      map.push_back(value);
      map.push_back(-value);
    }
  }
  std::sort(map.begin(), map.end());
  return map;
}

CUDA_OP_TEST(absmax_quantize) {
  const std::vector<float> map = dynamic_map();
  for (const int64_t count : {1, 255, 256, 257, 5000, 100000}) {
    const std::string name = shape("count", count);
    std::vector<float> absmax = floats(normal_f32(count, 1, 0.01));
    for (float& value : absmax) value = std::fabs(value) + 0.02f;
    double mean = 0.0;
    for (const float value : absmax) mean += double(value);
    const Buffer<float> in(absmax);
    const int64_t blocks = (count + 255) / 256;
    float offset = NAN;
    std::vector<float> scales;
    const auto codes = twice(name, [&] {
      const Buffer<uint8_t> out(count);
      const Buffer<float> absmax2(blocks);
      ops::absmax_quantize(out.data(), absmax2.data(), &offset, in.data(), count, device());
      scales = absmax2.read();
      return out.read();
    });
    expect(offset == static_cast<float>(mean / double(count)), name + ": offset");
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t begin = 256 * block, end = std::min(count, begin + 256);
      float largest = 0.0f;
      for (int64_t i = begin; i < end; ++i) {
        largest = std::max(largest, std::fabs(absmax[size_t(i)] - offset));
      }
      expect(scales[size_t(block)] == largest, name + ": absmax2");
      for (int64_t i = begin; i < end; ++i) {
        const float x = (absmax[size_t(i)] - offset) / largest;
        const float scaled = (x + 1.0f) * 0.5f * 65535.0f;
        const float point = std::floor(scaled + 0.5f);
        const float y = -1.0f + 2.0f * (std::max(0.0f, std::min(point, 65535.0f)) / 65535.0f);
        int best = 0;
        if (x == x) {
          for (int c = 1; c < 256; ++c) {
            if (std::fabs(map[size_t(c)] - y) < std::fabs(map[size_t(best)] - y)) best = c;
          }
        }
        expect(int(codes[size_t(i)]) == best, name + ": code " + std::to_string(i));
      }
    }
    const Buffer<uint8_t> code_buffer(codes);
    const Buffer<float> scale_buffer(scales), back(count);
    ops::absmax_dequantize(back.data(), code_buffer.data(), scale_buffer.data(), offset, count,
                           device());
    std::vector<float> want(static_cast<size_t>(count));
    for (size_t i = 0; i < want.size(); ++i) {
      const float product = map[codes[i]] * scales[i / 256];
      want[i] = product + offset;
    }
    expect(back.read() == want, name + ": absmax_dequantize");
  }
}

// The window [row, row + rows) × [column, column + columns).
void check_dequantize(int64_t out, int64_t in, int64_t gap, bool nested, int64_t row, int64_t rows,
                      int64_t column, int64_t columns) {
  const std::string name = shape("out", out, "in", in, nested ? "double" : "plain", "rows", row,
                                 rows, "columns", column, columns);
  const int64_t n = out * in, blocks = (n + 63) / 64;
  const Quantized q = quantize(floats(normal_f32(n, 1)));
  std::vector<uint8_t> codes;
  for (int64_t i = 0; i < blocks; ++i) codes.push_back(static_cast<uint8_t>(i * 37 % 256));
  std::vector<float> absmax2 = floats(normal_f32((blocks + 255) / 256, 2));
  const std::vector<float> map = dynamic_map();
  const Buffer<uint8_t> packed(q.packed), code_buffer(codes);
  const Buffer<float> absmax(q.absmax), absmax2_buffer(absmax2);
  ops::Weight w;
  w.out = out;
  w.in = in;
  w.packed = packed.data();
  if (nested) {
    w.absmax_codes = code_buffer.data();
    w.absmax2 = absmax2_buffer.data();
    w.absmax_offset = 2.5f;
  } else {
    w.absmax = absmax.data();
  }
  Doubles want;
  for (int64_t k = 0; k < rows * columns; ++k) {
    const int64_t i = (row + k / columns) * in + column + k % columns;
    const size_t block = size_t(i / 64);
    const int code = q.packed[size_t(i / 2)] >> (i % 2 == 0 ? 4 : 0) & 15;
    const float product = nested ? map[codes[block]] * absmax2[block / 256] : 0.0f;
    want.push_back(double(kCodes[code]) * double(nested ? product + 2.5f : q.absmax[block]));
  }
  const Matrix dst(rows, columns, columns + gap);
  ops::dequantize(dst.data(), dst.ld(), w, row, rows, column, columns, device());
  compare(name, dst.read(), want, bf16(want));
}

CUDA_OP_TEST(dequantize) {
  for (const bool nested : {false, true}) {
    check_dequantize(1, 1, 0, nested, 0, 1, 0, 1);
    check_dequantize(5, 33, 3, nested, 1, 3, 0, 33);
    check_dequantize(5, 33, 3, nested, 1, 3, 7, 20);
    check_dequantize(7, 24, 8, nested, 2, 5, 0, 24);
    check_dequantize(9, 100, 0, nested, 3, 4, 0, 100);
    check_dequantize(64, 64, 16, nested, 0, 64, 0, 64);
    check_dequantize(300, 512, 16, nested, 17, 200, 0, 512);
    check_dequantize(300, 512, 16, nested, 17, 200, 72, 136);
    check_dequantize(300, 512, 0, nested, 17, 200, 4, 501);
    check_dequantize(129, 4096, 48, nested, 0, 129, 0, 4096);
    check_dequantize(129, 4096, 16, nested, 0, 129, 3072, 1024);
    check_dequantize(11, 1600, 0, nested, 1, 9, 0, 1600);     // rows end inside a warp's share
    check_dequantize(9, 2056, 8, nested, 3, 6, 0, 2056);      // and begin inside a block
    check_dequantize(9, 2056, 8, nested, 3, 6, 1032, 1024);   // a window too
    check_dequantize(7000, 64, 16, nested, 0, 7000, 0, 64);   // more rows than warps
  }
  const Doubles plain = normal_bf16(6 * 20, 1);
  const Matrix from(plain, 6, 20, 32), dst(3, 20, 24), part(3, 9, 16);
  ops::Weight w;
  w.out = 6;
  w.in = 20;
  w.plain = from.data();
  w.ld = 32;
  ops::dequantize(dst.data(), dst.ld(), w, 2, 3, 0, 20, device());
  expect(dst.read() == Doubles(plain.begin() + 40, plain.begin() + 100), "a plain weight's rows");
  ops::dequantize(part.data(), part.ld(), w, 2, 3, 5, 9, device());
  Doubles want;
  for (size_t i = 0; i < 27; ++i) want.push_back(plain[(2 + i / 9) * 20 + 5 + i % 9]);
  expect(part.read() == want, "a plain weight's columns");
}

// ---- random -----------------------------------------------------------------------------------

std::vector<uint32_t> philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0,
                             uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0;
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c1 = uint32_t(p1);
    c3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

CUDA_OP_TEST(random) {
  const uint64_t seed = 0x123456789abcdefull, stream = 0xfedcba987654321ull;
  for (const int64_t count : {1, 5, 1003, 70001}) {
    const std::string name = shape("count", count);
    Doubles normal, uniform;
    for (int64_t i = 0; i < count; ++i) {
      const auto words = philox(uint32_t(i / 4), 0, uint32_t(stream), uint32_t(stream >> 32),
                                uint32_t(seed), uint32_t(seed >> 32));
      const size_t pair = size_t(i % 4 / 2 * 2);
      const double radius = std::sqrt(-2.0 * std::log((words[pair] + 0.5) / 4294967296.0)) * 0.02;
      const double angle = 6.283185307179586 * ((words[pair + 1] + 0.5) / 4294967296.0);
      normal.push_back(radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
      uniform.push_back((double(words[size_t(i % 4)] >> 8) / 8388608.0 - 1.0) * 0.25);
    }
    const Buffer<float> a(count), b(count);
    ops::random_normal(a.data(), count, seed, stream, 0.02, device());
    ops::random_uniform(b.data(), count, seed, stream, 0.25, device());
    compare_within(name + " normal", doubles(a.read()), normal, 1e-7);
    compare_within(name + " uniform", doubles(b.read()), uniform, 1e-7);
  }
}

}  // namespace
