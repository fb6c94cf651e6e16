// linear_decode, linear_group_decode, kv_append, kv_load, attention_decode and advance; rows that must
// not depend on their neighbours.
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
      // x larger than shared memory
      {4, 40, 20096, 8},
      // not aligned, blocks across rows
      {1, 1, 1, 0},      {3, 33, 123, 1},   {6, 70, 65, 7},    {11, 9, 256, 1},  {2, 5, 96, 0},
  };
  for (const Linear& size : sizes) {
    for (const Form form : {Form::plain, Form::nf4, Form::nested}) check_linear(size, form);
  }
}

// Where each weight goes: a row of w has one value that is not 0, so y picks columns of x.
void check_layout(int64_t m, int64_t out, int64_t in) {
  const auto hot = [&](int64_t row) { return row * 37 % in; };
  Doubles x, w(size_t(out * in), 0.0);
  for (int64_t n = 0; n < m; ++n) {
    for (int64_t k = 0; k < in; ++k) x.push_back(double((7 * n + 13 * k) % 251 - 125));
  }
  for (int64_t row = 0; row < out; ++row) w[size_t(row * in + hot(row))] = 1.0;
  const Buffer<float> values = f32_buffer(w);
  const Buffer<uint8_t> packed(out * in / 2);
  const Buffer<float> absmax(out * in / 64);
  ops::nf4_quantize(packed.data(), absmax.data(), values.data(), out * in, device());
  ops::Weight weight;
  weight.out = out;
  weight.in = in;
  weight.packed = packed.data();
  weight.absmax = absmax.data();
  const Matrix rows(x, m, in, in + 8);
  const Buffer<float> y(m * out);
  ops::linear_decode_f32(y.data(), out, rows.data(), rows.ld(), m, weight, device());
  const Doubles got = doubles(y.read());
  for (int64_t i = 0; i < m * out; ++i) {
    const int64_t n = i / out, row = i % out;
    const double want = x[size_t(n * in + hot(row))], found = got[size_t(i)];
    if (std::abs(found - want) <= 0.004 * std::abs(want)) continue;
    std::string from = " no column of that row";
    for (int64_t k = 0; k < in; ++k) {
      const double there = x[size_t(n * in + k)];
      if (std::abs(found - there) <= 0.004 * std::abs(there)) {
        from = " column " + std::to_string(k);
        break;
      }
    }
    expect(false, shape("layout m", m, "out", out, "in", in) + ": y[" + std::to_string(n) + ", " +
                      std::to_string(row) + "] should be x's column " + std::to_string(hot(row)) +
                      ", " + std::to_string(want) + ", found " + std::to_string(found) + "," +
                      from);
    return;
  }
}

CUDA_OP_TEST(nf4_layout) {
  for (const int64_t m : {1, 4, 5, 16, 33, 64}) {
    check_layout(m, 300, 64);
    check_layout(m, 520, 128);
    check_layout(m, 257, 320);
    check_layout(m, 600, 1280);
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
  // several units a part, `in` over all blocks of a cluster, more pieces of U than blocks
  check_group({64, 2176, {520, 300, 256}, {16, 16, 16}}, Form::nested);
  check_group({37, 4160, {264}, {64}}, Form::nested);
  check_group({130, 1088, {300}, {8}}, Form::nf4);
  for (const int64_t m : {5, 16, 17, 49, 64}) {  // U by each block for itself, ranks up to 16
    check_group({m, 4096, {300, 64, 20}, {16, 16, 16}}, Form::nested);
    check_group({m, 704, {40, 600}, {4, 12}}, Form::nf4);
    check_group({m, 64, {256}, {8}}, Form::nf4);
    check_group({m, 192, {70, 30}, {16, 0}}, Form::nested);
    check_group({m, 8512, {24}, {7}}, Form::nested);
  }
}

// ---- attention over the caches ------------------------------------------------------------------

struct Caches {
  int64_t Q, G, D, P;
  int64_t gap;
};

// x (D) turned by angles of a row of the table (half of them).
Doubles turned(const double* x, const double* cos, const double* sin, int64_t D) {
  Doubles y(static_cast<size_t>(D));
  for (int64_t i = 0; i < D / 2; ++i) {
    y[size_t(i)] = x[i] * cos[i] - x[i + D / 2] * sin[i];
    y[size_t(i + D / 2)] = x[i + D / 2] * cos[i] + x[i] * sin[i];
  }
  return y;
}

bool same_or_nan(const Doubles& a, const Doubles& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i] && !(std::isnan(a[i]) && std::isnan(b[i]))) return false;
  }
  return true;
}

void check_attention(const Caches& c) {
  const std::string name = shape("Q", c.Q, "G", c.G, "D", c.D, "P", c.P, "gap", c.gap);
  const int64_t D = c.D, half = D / 2;
  const int64_t width = c.G * D, capacity = 700, wide = (c.Q + 2 * c.G) * D;
  std::vector<int32_t> positions = {610, 4, 63, 0, 299, 64, 127, 128};
  for (int i = 0; i < 62; ++i) positions.push_back(i % 5);
  std::vector<int32_t> slots;
  for (size_t i = 0; i < positions.size(); ++i) slots.push_back(int32_t(i * 3 % positions.size()));
  // The last repeats the first.
  positions.push_back(positions[0]);
  slots.push_back(slots[0]);
  const int64_t rows = static_cast<int64_t>(slots.size()), own = rows - 1;
  const Matrix prefix_k(c.P + 1, width, width), prefix_v(c.P + 1, width, width);
  const Matrix k(own * capacity, width, width), v(own * capacity, width, width);
  const ops::KvCache cache = {c.P > 0 ? prefix_k.data() : nullptr,
                              c.P > 0 ? prefix_v.data() : nullptr,
                              k.data(),
                              v.data(),
                              capacity,
                              c.G,
                              D};
  // The prefix, then what each slot holds already; first[i] is where row i's tokens begin.
  std::vector<int32_t> slot_of_token, position_of_token;
  for (int32_t i = 0; i < c.P; ++i) slot_of_token.push_back(-1), position_of_token.push_back(i);
  std::vector<int64_t> first;
  for (int64_t i = 0; i < own; ++i) {
    first.push_back(static_cast<int64_t>(slot_of_token.size()));
    for (int32_t j = 0; j < positions[size_t(i)]; ++j) {
      slot_of_token.push_back(slots[size_t(i)]), position_of_token.push_back(j);
    }
  }
  first.push_back(first[0]);
  const int64_t tokens = static_cast<int64_t>(slot_of_token.size());
  const Doubles past = normal_bf16(tokens * wide, 1);
  const Matrix past_rows(past, tokens, wide, wide + c.gap);
  {
    const Buffer<int32_t> slot_buffer(slot_of_token), position_buffer(position_of_token);
    ops::kv_append(cache, past_rows.data(), past_rows.ld(), slot_buffer.data(),
                   position_buffer.data(), tokens, c.Q, device());
  }
  const Doubles k_before = k.read(), v_before = v.read();
  const Doubles angles = normal_f32((c.P + capacity) * half, 5, 3.0);
  Doubles cosines, sines;
  for (const double angle : angles) {
    cosines.push_back(static_cast<double>(static_cast<float>(std::cos(angle))));
    sines.push_back(static_cast<double>(static_cast<float>(std::sin(angle))));
  }
  const Buffer<float> cos = f32_buffer(cosines), sin = f32_buffer(sines);

  Doubles qkv = normal_bf16(own * wide, 2);
  qkv.insert(qkv.end(), qkv.begin(), qkv.begin() + wide);
  Doubles want, naive, new_k;
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t place = (c.P + positions[size_t(i)]) * half;
    const auto turn = [&](int64_t column) {
      return turned(&qkv[size_t(i * wide + column)], &cosines[size_t(place)], &sines[size_t(place)],
                    D);
    };
    for (int64_t h = 0; h < c.Q; ++h) {
      const int64_t g = h / (c.Q / c.G), key_column = (c.Q + g) * D, column = (c.Q + c.G + g) * D;
      const Doubles q = turn(h * D), key = turn(key_column);
      if (h % (c.Q / c.G) == 0 && i < own) new_k.insert(new_k.end(), key.begin(), key.end());
      Doubles p, rough, out(size_t(D), 0.0), rough_out = out;
      double total = 0.0, rough_total = 0.0;
      const auto see = [&](const double* seen, const double* rough_seen) {
        double s = 0.0, rough_s = 0.0;
        for (int64_t e = 0; e < D; ++e) {
          s += q[size_t(e)] * seen[e];
          rough_s += bf16(q[size_t(e)]) * rough_seen[e];
        }
        p.push_back(std::exp(s / std::sqrt(double(D))));
        rough.push_back(std::exp(bf16(rough_s) / std::sqrt(double(D))));
        total += p.back();
        rough_total += rough.back();
      };
      std::vector<const double*> values;
      const auto see_token = [&](int64_t t) {
        see(&past[size_t(t * wide + key_column)], &past[size_t(t * wide + key_column)]);
        values.push_back(&past[size_t(t * wide + column)]);
      };
      for (int64_t t = 0; t < c.P; ++t) see_token(t);
      for (int64_t j = 0; j < positions[size_t(i)]; ++j) see_token(first[size_t(i)] + j);
      const Doubles rough_key = bf16(key);
      see(key.data(), rough_key.data());
      values.push_back(&qkv[size_t(i * wide + column)]);
      for (size_t j = 0; j < values.size(); ++j) {
        for (int64_t e = 0; e < D; ++e) {
          out[size_t(e)] += p[j] / total * values[j][e];
          rough_out[size_t(e)] += bf16(rough[j] / rough_total) * values[j][e];
        }
      }
      want.insert(want.end(), out.begin(), out.end());
      for (const double value : rough_out) naive.push_back(bf16(value));
    }
  }
  const Buffer<int32_t> slot_buffer(slots), position_buffer(positions);
  // The op may change qkv.
  const auto attend = [&](int64_t begin, int64_t count) {
    const Matrix now(Doubles(qkv.begin() + begin * wide, qkv.begin() + (begin + count) * wide),
                     count, wide, wide + c.gap);
    const Matrix out(count, c.Q * D, c.Q * D + 2);
    ops::attention_decode(out.data(), out.ld(), now.data(), now.ld(), cache,
                          slot_buffer.data() + begin, position_buffer.data() + begin, c.P,
                          cos.data(), sin.data(), count, c.Q, device());
    return out.read();
  };
  const Doubles got = twice(name, [&] { return attend(0, rows); });
  compare(name, got, want, naive);
  const int64_t out_width = c.Q * D;
  const auto row_of = [&](int64_t row) {
    return Doubles(got.begin() + row * out_width, got.begin() + (row + 1) * out_width);
  };
  expect(row_of(0) == row_of(own), name + ": the row given twice differs");

  // The caches have the new tokens, and the rest as it was.
  Doubles k_after = k.read(), v_after = v.read(), got_k, naive_k, got_v, want_v;
  for (int64_t i = 0; i < own; ++i) {
    const int64_t at = (slots[size_t(i)] * capacity + positions[size_t(i)]) * width;
    for (int64_t e = 0; e < width; ++e) {
      got_k.push_back(k_after[size_t(at + e)]);
      got_v.push_back(v_after[size_t(at + e)]);
      want_v.push_back(qkv[size_t(i * wide + (c.Q + c.G) * D + e)]);
      k_after[size_t(at + e)] = k_before[size_t(at + e)];
      v_after[size_t(at + e)] = v_before[size_t(at + e)];
    }
  }
  for (const double value : new_k) naive_k.push_back(bf16(value));
  compare(name + " keys", got_k, new_k, naive_k);
  expect(got_v == want_v, name + ": values appended");
  expect(same_or_nan(k_after, k_before) && same_or_nan(v_after, v_before),
         name + ": other tokens of the caches");

  for (const int64_t row : {int64_t{0}, int64_t{1}, int64_t{5}, int64_t{64}, own - 1}) {
    expect(attend(row, 1) == row_of(row), name + ": row " + std::to_string(row) + " alone differs");
  }
  expect(attend(2, 7) == Doubles(got.begin() + 2 * out_width, got.begin() + 9 * out_width),
         name + ": seven rows apart differ");
}

CUDA_OP_TEST(attention_decode) {
  check_attention({4, 1, 128, 336, 0});
  check_attention({8, 2, 64, 70, 8});
  check_attention({8, 1, 128, 0, 8});
  check_attention({3, 3, 64, 1, 0});
  check_attention({6, 1, 64, 130, 0});
  check_attention({20, 1, 64, 65, 0});
  // runs of several tiles
  check_attention({2, 1, 64, 1100, 0});
  // other heads, and rows that are not aligned
  check_attention({1, 1, 2, 0, 0});
  check_attention({6, 1, 20, 3, 0});
  check_attention({4, 4, 80, 0, 3});
  check_attention({4, 4, 80, 9, 0});
  check_attention({2, 1, 256, 19, 0});
  check_attention({12, 2, 128, 40, 1});
}

// What kv_append has stored, a causal pass reads back with kv_load.
CUDA_OP_TEST(kv_load) {
  for (const int64_t gap : {int64_t{0}, int64_t{3}}) {
    const int64_t Q = 3, G = 2, D = 40, width = G * D, wide = (Q + 2 * G) * D, n = 37;
    const Matrix prefix_k(n, width, width), prefix_v(n, width, width);
    const Matrix k(2 * n, width, width), v(2 * n, width, width);
    const ops::KvCache cache = {prefix_k.data(), prefix_v.data(), k.data(), v.data(), n, G, D};
    for (const int32_t slot : {-1, 1}) {
      const Doubles qkv = normal_bf16(n * wide, 3), other = normal_bf16(n * wide, 4);
      const Matrix from(qkv, n, wide, wide + gap), to(other, n, wide, wide + gap);
      std::vector<int32_t> places;
      for (int32_t i = 0; i < n; ++i) places.push_back(i);
      const Buffer<int32_t> slots(std::vector<int32_t>(size_t(n), slot)), place_buffer(places);
      ops::kv_append(cache, from.data(), from.ld(), slots.data(), place_buffer.data(), n, Q,
                     device());
      ops::kv_load(to.data(), to.ld(), cache, slot, n - 2, Q, device());
      Doubles want = other;
      for (int64_t i = 0; i < (n - 2) * wide; ++i) {
        if (i % wide >= Q * D) want[size_t(i)] = qkv[size_t(i)];
      }
      expect(to.read() == want, "slot " + std::to_string(slot) + " gap " + std::to_string(gap));
    }
  }
}

// ---- advance ------------------------------------------------------------------------------------

CUDA_OP_TEST(advance) {
  const int32_t rows = 300, last = 20;
  std::vector<int32_t> ids, positions, history(size_t(rows) * 4, -7), tokens;
  std::vector<float> logprobs;
  std::vector<uint8_t> bytes(size_t(rows) * sizeof(ops::SamplingRow));
  std::vector<ops::SamplingRow> settings;
  for (int32_t i = 0; i < rows; ++i) {
    ids.push_back(i), positions.push_back(i % 22 < last ? i % 22 : last);
    tokens.push_back(1000 + i), logprobs.push_back(-0.25f * static_cast<float>(i));
    ops::SamplingRow row{};
    row.repetition_penalty = i % 3 == 0 ? 1.0f : 1.2f;
    row.history_begin = 4 * i;
    row.history_end = 4 * i + 1;
    row.counter = static_cast<uint32_t>(i);
    settings.push_back(row);
  }
  std::memcpy(bytes.data(), settings.data(), bytes.size());
  const Buffer<int32_t> id_buffer(ids), position_buffer(positions), history_buffer(history);
  const Buffer<int32_t> token_buffer(tokens), step_buffer(std::vector<int32_t>{0});
  const Buffer<int32_t> all_tokens(3 * rows);
  const Buffer<float> logprob_buffer(logprobs), all_logprobs(3 * rows);
  const Buffer<uint8_t> settings_buffer(bytes);
  ops::DecodeRows state{};
  state.ids = id_buffer.data();
  state.positions = position_buffer.data();
  state.settings = reinterpret_cast<ops::SamplingRow*>(settings_buffer.data());
  state.history = history_buffer.data();
  state.steps = step_buffer.data();
  state.all_tokens = all_tokens.data();
  state.all_logprobs = all_logprobs.data();
  state.last_position = last;
  for (int step = 0; step < 2; ++step) {
    ops::advance(state, token_buffer.data(), logprob_buffer.data(), rows, device());
  }
  const auto got_tokens = all_tokens.read();
  const auto got_logprobs = all_logprobs.read();
  const auto got_ids = id_buffer.read(), got_positions = position_buffer.read();
  const auto got_history = history_buffer.read();
  const auto got_bytes = settings_buffer.read();
  std::memcpy(settings.data(), got_bytes.data(), got_bytes.size());
  expect(step_buffer.read()[0] == 2, "steps");
  for (int32_t i = 0; i < rows; ++i) {
    const size_t at = size_t(i);
    expect(got_tokens[at] == tokens[at] && got_tokens[size_t(rows + i)] == tokens[at], "tokens");
    expect(got_logprobs[at] == logprobs[at] && got_logprobs[size_t(rows + i)] == logprobs[at],
           "log-probabilities");
    expect(got_ids[at] == tokens[at], "ids");
    expect(got_positions[at] == std::min(positions[at] + 2, last), "positions");
    expect(settings[at].counter == static_cast<uint32_t>(i + 2), "counters");
    const bool kept = i % 3 != 0;
    expect(settings[at].history_end == 4 * i + (kept ? 3 : 1), "ends of the history");
    for (int32_t j = 0; j < 4; ++j) {
      const bool is_new = kept && (j == 1 || j == 2);
      expect(got_history[size_t(4 * i + j)] == (is_new ? tokens[at] : -7), "history");
    }
  }
}

}  // namespace
