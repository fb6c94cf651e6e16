// linear_decode, linear_group_decode, kv_append and attention_decode; rows that must not depend on their neighbours.
#include <algorithm>

#include "cuda_test.h"

namespace {

using namespace cuda_test;
namespace ops = qlora::ops;

// ---- linear_decode ------------------------------------------------------------------------------

enum class Form { plain, nf4, nested };

struct Linear {
  int64_t m, out, in;
  int64_t gap;  // of x's and the plain weight's rows; 8 keeps them aligned
};

// A weight on the device and its exact values.
struct DeviceWeight {
  Matrix plain;
  Buffer<uint8_t> packed;
  Buffer<float> absmax;
  Buffer<uint8_t> codes;
  Buffer<float> absmax2;
  ops::Weight w;
  Doubles values;
};

DeviceWeight make_weight(const Linear& x, Form form) {
  const int64_t n = x.out * x.in, blocks = (n + 63) / 64;
  const Doubles source = normal_bf16(n, 3, 0.05);
  DeviceWeight made{form == Form::plain ? Matrix(source, x.out, x.in, x.in + x.gap)
                                        : Matrix(1, 1, 1),
                    Buffer<uint8_t>((n + 1) / 2),
                    Buffer<float>(blocks),
                    Buffer<uint8_t>(blocks),
                    Buffer<float>((blocks + 255) / 256),
                    {},
                    source};
  made.w.out = x.out;
  made.w.in = x.in;
  if (form == Form::plain) {
    made.w.plain = made.plain.data();
    made.w.ld = x.in + x.gap;
    return made;
  }
  const Buffer<float> values = f32_buffer(source);
  ops::nf4_quantize(made.packed.data(), made.absmax.data(), values.data(), n, device());
  made.w.packed = made.packed.data();
  Doubles absmax = doubles(made.absmax.read());
  if (form == Form::nested) {
    float offset = 0;
    ops::absmax_quantize(made.codes.data(), made.absmax2.data(), &offset, made.absmax.data(),
                         blocks, device());
    made.w.absmax_codes = made.codes.data();
    made.w.absmax2 = made.absmax2.data();
    made.w.absmax_offset = offset;
    const Buffer<float> back(blocks);
    ops::absmax_dequantize(back.data(), made.codes.data(), made.absmax2.data(), offset, blocks,
                           device());
    absmax = doubles(back.read());
  } else {
    made.w.absmax = made.absmax.data();
  }
  const double codes[16] = {-1.0,
                            -0.6961928009986877,
                            -0.5250730514526367,
                            -0.39491748809814453,
                            -0.28444138169288635,
                            -0.18477343022823334,
                            -0.09105003625154495,
                            0.0,
                            0.07958029955625534,
                            0.16093020141124725,
                            0.24611230194968634,
                            0.33791524171829224,
                            0.44070982933044434,
                            0.5626170039176941,
                            0.7229568362236023,
                            1.0};
  const std::vector<uint8_t> packed = made.packed.read();
  for (int64_t i = 0; i < n; ++i) {
    const int code = packed[size_t(i / 2)] >> (i % 2 == 0 ? 4 : 0) & 15;
    made.values[size_t(i)] = codes[code] * absmax[size_t(i / 64)];
  }
  return made;
}

// x · wᵀ; rounded: w and the result in bf16.
Doubles product(const Doubles& x, const Doubles& w, const Linear& size, bool rounded) {
  Doubles y;
  for (int64_t i = 0; i < size.m; ++i) {
    for (int64_t o = 0; o < size.out; ++o) {
      double sum = 0.0;
      for (int64_t k = 0; k < size.in; ++k) {
        const double value = w[size_t(o * size.in + k)];
        sum += x[size_t(i * size.in + k)] * (rounded ? bf16(value) : value);
      }
      y.push_back(rounded ? bf16(sum) : sum);
    }
  }
  return y;
}

void check_linear(const Linear& size, Form form) {
  const char* const forms[] = {"plain", "nf4", "nested"};
  const std::string name = shape(forms[int(form)], "m", size.m, "out", size.out, "in", size.in,
                                 "gap", size.gap);
  const Doubles x = normal_bf16(size.m * size.in, 1), start = normal_bf16(size.m * size.out, 2);
  const Matrix rows(x, size.m, size.in, size.in + size.gap);
  const DeviceWeight weight = make_weight(size, form);
  const Doubles want = product(x, weight.values, size, false);
  const Doubles naive = product(x, weight.values, size, true);
  const Doubles got = twice(name, [&] {
    const Matrix y(size.m, size.out, size.out + 3);
    ops::linear_decode(y.data(), y.ld(), rows.data(), rows.ld(), size.m, weight.w, 0.0f, device());
    return y.read();
  });
  compare(name, got, want, naive);

  Doubles want_added = want, naive_added = naive;
  for (size_t i = 0; i < want.size(); ++i) {
    want_added[i] += start[i];
    naive_added[i] = bf16(naive[i] + start[i]);
  }
  const Matrix added(start, size.m, size.out, size.out + 1);
  ops::linear_decode(added.data(), added.ld(), rows.data(), rows.ld(), size.m, weight.w, 1.0f,
                     device());
  compare(name + " beta 1", added.read(), want_added, naive_added);

  const Buffer<float> full(size.m * size.out);
  ops::linear_decode_f32(full.data(), size.out, rows.data(), rows.ld(), size.m, weight.w, device());
  const Doubles all = doubles(full.read());
  compare(name + " f32", all, want, naive);
  // A row has the same bits in any company, as far as ops.h says so.
  const bool is_cpu = sizeof(act_t) == 4;
  const int64_t few = form == Form::plain ? 8 : 4;
  if (!is_cpu && form == Form::plain && size.m > few) return;
  const int64_t together = is_cpu || size.m <= few ? 1 : few + 1;
  for (const int64_t row : {int64_t{0}, size.m / 2, size.m - together}) {
    if (row + together > size.m) continue;
    const Buffer<float> apart(together * size.out);
    ops::linear_decode_f32(apart.data(), size.out, rows.data() + row * rows.ld(), rows.ld(),
                           together, weight.w, device());
    const auto begin = all.begin() + row * size.out;
    expect(doubles(apart.read()) == Doubles(begin, begin + together * size.out),
           name + ": row " + std::to_string(row) + " apart differs");
  }
}

CUDA_OP_TEST(linear_decode) {
  const Linear sizes[] = {
      {19, 1, 64, 0},    {1, 16, 64, 8},    {1, 130, 256, 8},  {2, 17, 1024, 0}, {5, 33, 640, 8},
      {8, 64, 128, 16},  {9, 100, 320, 8},  {16, 20, 512, 0},  {17, 48, 192, 8}, {33, 40, 2048, 8},
      {64, 33, 192, 0},  {70, 48, 128, 8},  {17, 130, 576, 8}, {70, 300, 704, 0},
      {1, 300, 16, 0},   {3, 70, 40, 8},    {2, 24, 4104, 0},
      // more tiles than teams, more runs than warps; `in` split over blocks
      {4, 6500, 192, 8}, {3, 40, 4160, 0},  {5, 200, 4160, 0}, {31, 390, 1984, 8},
      // not aligned, blocks across rows
      {1, 1, 1, 0},      {3, 33, 123, 1},   {6, 70, 65, 7},    {11, 9, 256, 1},  {2, 5, 96, 0},
  };
  for (const Linear& size : sizes) {
    for (const Form form : {Form::plain, Form::nf4, Form::nested}) check_linear(size, form);
  }
}

// ---- linear_group_decode ------------------------------------------------------------------------

struct GroupSize {
  int64_t m, in;
  std::vector<int64_t> outs, ranks;
};

void check_group(const GroupSize& size, Form form) {
  const char* const forms[] = {"plain", "nf4", "nested"};
  const std::string name = shape(forms[int(form)], "m", size.m, "in", size.in, "out", size.outs[0],
                                 "parts", int64_t(size.outs.size()));
  ops::DecodeGroup group;
  group.num_parts = static_cast<int>(size.outs.size());
  int64_t out = 0;
  for (size_t p = 0; p < size.outs.size(); ++p) {
    group.rank += size.ranks[p];
    out += size.outs[p];
  }
  const int64_t ldx = size.in + group.rank + 7 - (size.in + group.rank + 7) % 8;
  const Doubles a = normal_bf16(group.rank * size.in, 5, 1 / std::sqrt(double(size.in)));
  const Matrix a_matrix(a, std::max<int64_t>(1, group.rank), group.rank > 0 ? size.in : 0, size.in);
  group.a = group.rank > 0 ? a_matrix.data() : nullptr;
  const Doubles x = normal_bf16(size.m * size.in, 1);
  Doubles u, naive_u;
  for (int64_t i = 0; i < size.m * group.rank; ++i) {
    double sum = 0.0;
    for (int64_t k = 0; k < size.in; ++k) {
      sum += x[size_t(i / group.rank * size.in + k)] * a[size_t(i % group.rank * size.in + k)];
    }
    u.push_back(sum);
    naive_u.push_back(bf16(sum));
  }
  std::vector<DeviceWeight> weights;
  std::vector<Matrix> bs;
  std::vector<Doubles> b_values;
  int64_t first = 0, offset = 0;
  for (size_t p = 0; p < size.outs.size(); ++p) {
    const int64_t rank = size.ranks[p];
    weights.push_back(make_weight({size.m, size.outs[p], size.in, 0}, form));
    b_values.push_back(normal_bf16(size.outs[p] * rank, uint32_t(7 + p), 0.1));
    bs.emplace_back(b_values.back(), size.outs[p], rank, rank);
    ops::DecodePart& part = group.parts[p];
    part.w = weights.back().w;
    part.first = first;
    part.rank = rank;
    part.rank_offset = offset;
    part.scaled_b = rank > 0 ? bs.back().data() : nullptr;
    first += size.outs[p];
    offset += rank;
  }
  Doubles want(size_t(size.m * out)), naive = want;
  for (size_t p = 0; p < size.outs.size(); ++p) {
    const Linear linear = {size.m, size.outs[p], size.in, 0};
    const Doubles exact = product(x, weights[p].values, linear, false);
    const Doubles rough = product(x, weights[p].values, linear, true);
    for (int64_t i = 0; i < size.m * size.outs[p]; ++i) {
      const int64_t n = i / size.outs[p], o = i % size.outs[p];
      double sum = 0.0, rough_sum = 0.0;
      for (int64_t r = 0; r < size.ranks[p]; ++r) {
        const double b = b_values[p][size_t(o * size.ranks[p] + r)];
        sum += u[size_t(n * group.rank + group.parts[p].rank_offset + r)] * b;
        rough_sum += naive_u[size_t(n * group.rank + group.parts[p].rank_offset + r)] * b;
      }
      const size_t at = size_t(n * out + group.parts[p].first + o);
      want[at] = exact[size_t(i)] + sum;
      naive[at] = bf16(rough[size_t(i)] + bf16(rough_sum));
    }
  }
  Doubles wide_x;  // with room for U
  for (int64_t i = 0; i < size.m; ++i) {
    wide_x.insert(wide_x.end(), x.begin() + i * size.in, x.begin() + (i + 1) * size.in);
    wide_x.insert(wide_x.end(), size_t(group.rank), 3.0);
  }
  const Doubles got = twice(name, [&] {
    const Matrix rows(wide_x, size.m, size.in + group.rank, ldx);
    const Matrix y(size.m, out, out + 3);
    ops::linear_group_decode(y.data(), y.ld(), rows.data(), ldx, size.m, group, device());
    rows.read();  // the gaps
    return y.read();
  });
  compare(name, got, want, naive);
}

CUDA_OP_TEST(linear_group_decode) {
  for (const int64_t m : {1, 3, 4, 5, 8, 13, 29, 64, 70}) {
    for (const Form form : {Form::plain, Form::nf4, Form::nested}) {
      check_group({m, 320, {48, 16, 33}, {16, 8, 16}}, form);
      check_group({m, 1024, {130}, {16}}, form);
      check_group({m, 192, {20, 150}, {0, 0}}, form);
    }
  }
  check_group({2, 576, {40, 24}, {5, 3}}, Form::nested);
  check_group({9, 576, {40, 24}, {5, 3}}, Form::nested);
  check_group({6, 70, {40, 24}, {2, 4}}, Form::nf4);
  check_group({4, 1152, {140, 24}, {40, 24}}, Form::nested);
  check_group({33, 1152, {140, 24}, {40, 24}}, Form::nested);
}

// ---- attention over the caches ------------------------------------------------------------------

struct Caches {
  int64_t Q, G, D, P;
  int64_t gap;
};

void check_attention(const Caches& c) {
  const std::string name = shape("Q", c.Q, "G", c.G, "D", c.D, "P", c.P, "gap", c.gap);
  const int64_t width = c.G * c.D, capacity = 700, slots = 3, wide = (c.Q + 2 * c.G) * c.D;
  const Matrix prefix_k(c.P + 1, width, width), prefix_v(c.P + 1, width, width);
  const Matrix k(slots * capacity, width, width), v(slots * capacity, width, width);
  const ops::KvCache cache = {c.P > 0 ? prefix_k.data() : nullptr,
                              c.P > 0 ? prefix_v.data() : nullptr,
                              k.data(),
                              v.data(),
                              capacity,
                              c.G,
                              c.D};
  // The prefix, then tokens of slots 2 and 0, in mixed order.
  std::vector<int32_t> slot_of_row, position;
  for (int32_t i = 0; i < c.P; ++i) slot_of_row.push_back(-1), position.push_back(i);
  for (int32_t i = 0; i < 611; ++i) {
    slot_of_row.push_back(2), position.push_back(i);
    if (i < 5) slot_of_row.push_back(0), position.push_back(i);
  }
  const int64_t tokens = static_cast<int64_t>(slot_of_row.size());
  const Doubles past = normal_bf16(tokens * wide, 1);
  const Matrix past_rows(past, tokens, wide, wide + c.gap);
  const Buffer<int32_t> slot_buffer(slot_of_row), position_buffer(position);
  ops::kv_append(cache, past_rows.data(), past_rows.ld(), slot_buffer.data(),
                 position_buffer.data(), tokens, c.Q, device());

  std::vector<int32_t> row_slots = {2, 0, 2, 0, 2}, lengths = {611, 5, 37, 1, 300};
  for (int i = 0; i < 40; ++i) {
    row_slots.push_back(i % 2 == 0 ? 2 : 0);
    lengths.push_back(1 + i % 5);
  }
  const int64_t rows = static_cast<int64_t>(row_slots.size());
  const Doubles qkv = normal_bf16(rows * wide, 2);
  const Matrix now(qkv, rows, wide, wide + c.gap);
  Doubles want, naive;
  for (int64_t i = 0; i < rows; ++i) {
    std::vector<int64_t> seen;
    for (int64_t t = 0; t < tokens; ++t) {
      const bool in_prefix = slot_of_row[size_t(t)] < 0;
      const bool in_slot = slot_of_row[size_t(t)] == row_slots[size_t(i)] &&
                           position[size_t(t)] < lengths[size_t(i)];
      if (in_prefix || in_slot) seen.push_back(t);
    }
    for (int64_t h = 0; h < c.Q; ++h) {
      const int64_t column = (c.Q + h / (c.Q / c.G)) * c.D;
      Doubles p, rough, out(size_t(c.D), 0.0), rough_out = out;
      double total = 0.0, rough_total = 0.0;
      for (const int64_t t : seen) {
        double s = 0.0;
        for (int64_t e = 0; e < c.D; ++e) {
          s += qkv[size_t(i * wide + h * c.D + e)] * past[size_t(t * wide + column + e)];
        }
        p.push_back(std::exp(s / std::sqrt(double(c.D))));
        rough.push_back(std::exp(bf16(s) / std::sqrt(double(c.D))));
        total += p.back();
        rough_total += rough.back();
      }
      for (size_t j = 0; j < seen.size(); ++j) {
        for (int64_t e = 0; e < c.D; ++e) {
          const double value = past[size_t(seen[j] * wide + column + c.G * c.D + e)];
          out[size_t(e)] += p[j] / total * value;
          rough_out[size_t(e)] += bf16(rough[j] / rough_total) * value;
        }
      }
      want.insert(want.end(), out.begin(), out.end());
      for (const double value : rough_out) naive.push_back(bf16(value));
    }
  }
  const Buffer<int32_t> row_buffer(row_slots), length_buffer(lengths);
  const Doubles got = twice(name, [&] {
    const Matrix out(rows, c.Q * c.D, c.Q * c.D + 2);
    ops::attention_decode(out.data(), out.ld(), now.data(), now.ld(), cache, row_buffer.data(),
                          length_buffer.data(), c.P, rows, c.Q, device());
    return out.read();
  });
  compare(name, got, want, naive);
  for (const int64_t row : {int64_t{0}, int64_t{1}, rows - 1}) {
    const Matrix alone(1, c.Q * c.D, c.Q * c.D);
    ops::attention_decode(alone.data(), alone.ld(), now.data() + row * now.ld(), now.ld(), cache,
                          row_buffer.data() + row, length_buffer.data() + row, c.P, 1, c.Q,
                          device());
    const auto begin = got.begin() + row * c.Q * c.D;
    expect(alone.read() == Doubles(begin, begin + c.Q * c.D),
           name + ": row " + std::to_string(row) + " alone differs");
  }
}

CUDA_OP_TEST(attention_decode) {
  check_attention({4, 1, 128, 336, 0});
  check_attention({8, 2, 64, 70, 8});
  check_attention({8, 1, 128, 0, 8});
  check_attention({3, 3, 64, 1, 0});
  // other heads, and rows that are not aligned
  check_attention({1, 1, 2, 0, 0});
  check_attention({6, 1, 20, 3, 0});
  check_attention({4, 4, 80, 0, 3});
  check_attention({2, 1, 256, 19, 0});
  check_attention({12, 2, 128, 40, 1});
}

// ops.h: while the prefix itself is computed, prefix_length is 0 and its rows have slot −1.
CUDA_OP_TEST(attention_decode_prefix) {
  const int64_t Q = 2, G = 1, D = 64, wide = 4 * 64, n = 90;
  const Matrix prefix_k(n, D, D), prefix_v(n, D, D), k(1, D, D), v(1, D, D);
  const ops::KvCache cache = {prefix_k.data(), prefix_v.data(), k.data(), v.data(), 1, G, D};
  const Doubles qkv = normal_bf16(n * wide, 1);
  const Matrix x(qkv, n, wide, wide);
  std::vector<int32_t> slots(size_t(n), -1), places, lengths, cu = {0, int32_t(n)};
  for (int32_t i = 0; i < n; ++i) places.push_back(i), lengths.push_back(i + 1);
  const Buffer<int32_t> slot_buffer(slots), place_buffer(places), length_buffer(lengths);
  ops::kv_append(cache, x.data(), wide, slot_buffer.data(), place_buffer.data(), n, Q, device());
  const Matrix out(n, Q * D, Q * D), want(n, Q * D, Q * D);
  ops::attention_decode(out.data(), out.ld(), x.data(), wide, cache, slot_buffer.data(),
                        length_buffer.data(), 0, n, Q, device());
  const Buffer<int32_t> cu_buffer(cu);
  const ops::AttentionShape s = {n, 0, 1, Q, G, D, n, cu_buffer.data(), cu.data()};
  ops::attention_forward(want.data(), want.ld(), nullptr, x.data(), wide, s, device());
  compare_within("causal attention", out.read(), want.read(), 1e-2);
}

}  // namespace
