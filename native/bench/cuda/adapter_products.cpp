#include "adapter_products.h"

#include <cstdio>
#include <string>
#include <vector>

#include "bench.h"
#include "gemm_algorithms.h"
#include "gemm_plans.h"
#include "rounds.h"

namespace bench {
namespace {

constexpr int64_t kRank = 16;
constexpr int64_t kMostPad = 256;  // columns behind `in`, at most

struct Group {
  const char* name;
  std::vector<int64_t> outs;  // of its linears
  int64_t in;
};

// Operands of a group's products for m rows: rows as long as any way wants them, every way with
// row pitches of its own. All of them hold independent normal numbers.
class Operands {
 public:
  Operands(const Group& group, int64_t m)
      : m_(m),
        in_(group.in),
        x_(m * (group.in + kMostPad), 1),
        dx_(m * (group.in + kMostPad), 2),
        w_(sum(group.outs) * (group.in + kMostPad), 3),
        y_(m * sum(group.outs), 4),
        bias_(sum(group.outs)),
        db_(kRank * sum(group.outs)) {
    for (const int64_t out : group.outs) {
      parts_.push_back({db_.data + kRank * out_, out, out_, kRank, R_});
      out_ += out;
      R_ += kRank;
    }
  }

  int64_t in() const { return in_; }
  int64_t out() const { return out_; }
  int64_t R() const { return R_; }

  // Y = X [m, k] · W [out, k]ᵀ
  void forward(int64_t k, int64_t ld, float beta = 0.0f) const {
    ops::gemm(y_.data, out_, x_.data, ld, false, w_.data, ld, true, m_, out_, k, 1.0f, beta,
              device());
  }
  // Y = U [m, R] · sBᵀ
  void narrow_forward(int64_t ld) const {
    ops::gemm(y_.data, out_, x_.data + in_, ld, false, w_.data + in_, ld, true, m_, out_, R_, 1.0f,
              0.0f, device());
  }
  void read_and_write_y() const {
    ops::bias_forward(y_.data, out_, bias_.data, m_, out_, device());
  }
  // columns [first, first + n) of [dX | dU] = dY · [W | sB]
  void backward(int64_t first, int64_t n, int64_t ld) const {
    ops::gemm(dx_.data + first, ld, y_.data, out_, false, w_.data + first, ld, false, m_, n, out_,
              1.0f, 0.0f, device());
  }
  void b_backward(int64_t ld) const {
    ops::lora_b_backward(parts_.data(), static_cast<int>(parts_.size()), y_.data, out_,
                         x_.data + in_, ld, m_, 2.0f, device());
  }

 private:
  static int64_t sum(const std::vector<int64_t>& values) {
    int64_t total = 0;
    for (const int64_t value : values) total += value;
    return total;
  }
  int64_t m_, in_, out_ = 0, R_ = 0;
  const Block<act_t> x_, dx_, w_, y_;
  const Block<float> bias_, db_;
  std::vector<ops::LoraPart> parts_;
};

std::string number(int64_t value) { return std::to_string(value); }

// Products with and without the adapter's columns, on rows of several pitches. few: only those that
// the graph could take.
template <class Product>
std::vector<Way> product_ways(const Operands& x, const char* dimension, bool few,
                              const Product& product) {
  const int64_t in = x.in(), R = x.R();
  std::vector<Way> ways;
  const auto add = [&](const char* name, int64_t size, int64_t ld, bool likely) {
    if (few && !likely) return;
    ways.push_back(
        {std::string(name) + ": " + dimension + " " + number(size) + ", pitch " + number(ld),
         [product, size, ld] { product(size, ld); }});
  };
  add("base alone", in, in, true);
  add("base alone, again", in, in, false);
  for (const int64_t more : {R, int64_t{64}, int64_t{192}}) {
    add("base alone", in, in + more, false);
  }
  add("folded, as in the graph", in + R, in + 64, true);
  add("folded", in + R, in + R, true);
  for (const int64_t more : {128, 192}) add("folded", in + R, in + more, false);
  for (const int64_t more : {16, 32, 48, 64, 128, 256}) {
    if (more != R) add("more columns", in + more, in + more, more == 64);
  }
  return ways;
}

std::vector<Way> forward_ways(const Operands& x, bool few) {
  const int64_t in = x.in();
  std::vector<Way> ways =
      product_ways(x, "k", few, [&x](int64_t k, int64_t ld) { x.forward(k, ld); });
  if (few) return ways;
  ways.push_back({"U sBt first, base with beta 1", [&x, in] {
                    x.narrow_forward(in + 64);
                    x.forward(in, in + 64, 1.0f);
                  }});
  ways.push_back({"base, then Y read and written", [&x, in] {
                    x.forward(in, in + 64);
                    x.read_and_write_y();
                  }});
  return ways;
}

std::vector<Way> backward_ways(const Operands& x, bool few) {
  const int64_t in = x.in(), R = x.R();
  std::vector<Way> ways =
      product_ways(x, "n", few, [&x](int64_t n, int64_t ld) { x.backward(0, n, ld); });
  if (few) return ways;
  ways.push_back({"dX, then dU, a product each", [&x, in, R] {
                    x.backward(0, in, in + 64);
                    x.backward(in, R, in + 64);
                  }});
  ways.push_back({"folded, as in the graph, then dB", [&x, in, R] {
                     x.backward(0, in + R, in + 64);
                     x.b_backward(in + 64);
                  }});
  return ways;
}

// cuBLASLt's choices for what a way multiplies.
std::string choices_of(const Way& way) {
  auto& plans = device().gemm_plans().plans;
  plans.clear();
  way.work();
  std::string names;
  for (const auto& plan : plans) {
    if (!names.empty()) names += " and ";
    names += choice_name(plan.second.algorithm);
  }
  return names;
}

void compare(const std::string& title, const std::vector<Way>& ways, int rounds, double seconds,
             double flops) {
  std::vector<std::string> choices;
  for (const Way& way : ways) choices.push_back(choices_of(way));
  const std::vector<Times> times = time_in_rounds(ways, rounds, seconds);
  std::printf("%s\n", title.c_str());
  for (size_t i = 0; i < ways.size(); ++i) {
    std::printf("  %-48s %8.4f ms  %6.1f %% of the time  %6.1f TFLOP/s %5.0f MHz  %s\n",
                ways[i].name.c_str(), times[i].seconds * 1e3, 100 * times[i].of_first,
                flops / times[i].seconds / 1e12, times[i].clock, choices[i].c_str());
  }
}

}  // namespace

void adapter_products(int64_t tokens) {
  const Group groups[] = {{"qkv", {4096, 1024, 1024}, 4096},
                          {"o", {4096}, 4096},
                          {"gate up", {14336, 14336}, 4096},
                          {"down", {4096}, 14336}};
  std::vector<int64_t> sizes = {5776, 8192};
  if (tokens > 0) sizes = {tokens};
  std::printf(
      "time of the first row's in the same round; TFLOP/s: of the base product's operations\n");
  for (const int64_t m : sizes) {
    for (const Group& group : groups) {
      const Operands x(group, m);
      const double flops = 2.0 * double(m) * double(x.out()) * double(x.in());
      const std::string name = std::string(group.name) + ", m " + number(m);
      compare("forward of " + name, forward_ways(x, false), 24, 1.5e-3, flops);
      compare("backward of " + name, backward_ways(x, false), 24, 1.5e-3, flops);
      if (m != sizes.front()) continue;
      // Long enough for the card's power to settle: at its limit energy decides, which turns of a
      // millisecond share among all ways.
      compare("forward of " + name + ", 0.1 s each", forward_ways(x, true), 3, 0.1, flops);
      compare("backward of " + name + ", 0.1 s each", backward_ways(x, true), 3, 0.1, flops);
    }
  }
}

}  // namespace bench
