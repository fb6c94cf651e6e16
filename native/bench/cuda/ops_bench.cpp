// The CUDA ops at the 8B shape: time, and bytes or floating-point operations a second beside the
// copy bandwidth and the product rate measured in the same run.
//   qlora_cuda_ops_bench [tokens] [filter]   only rows whose name contains the filter
//   qlora_cuda_ops_bench --algos [tokens]    cuBLASLt's choices for the products, one by one
//   qlora_cuda_ops_bench --adapter [tokens]  what the adapter's columns cost the products
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "adapter_products.h"
#include "attention_path.h"
#include "bench.h"
#include "gemm_algorithms.h"
#include "qlora.h"

namespace {

using bench::act_t;
using bench::Block;
using bench::device;
using bench::time_of;
namespace ops = qlora::ops;

constexpr int64_t kHidden = 4096, kFfn = 14336, kQkv = 6144, kRank = 16, kVocabulary = 128256;

std::string filter;
bool selected(const std::string& name) { return name.find(filter) != std::string::npos; }

double copy_rate = 0, product_rate = 0;

// Distance of rows with an adapter's columns, as the graph has them.
int64_t pitch(int64_t columns) { return (columns + 63) / 64 * 64; }

// One row of the table: bytes the op must move.
void moves(const char* name, double bytes, const std::function<void()>& work) {
  if (copy_rate > 0 && !selected(name)) return;
  const double seconds = time_of(work), rate = bytes / seconds;
  if (copy_rate == 0) copy_rate = rate;
  std::printf("%-34s %9.3f ms %8.0f GB/s    %5.1f %% of copy\n", name, seconds * 1e3, rate / 1e9,
              100 * rate / copy_rate);
}

// One row of the table: floating-point operations the product takes.
void multiplies(const char* name, double flops, const std::function<void()>& work) {
  if (product_rate > 0 && !selected(name)) return;
  const double seconds = time_of(work), rate = flops / seconds;
  if (product_rate == 0) product_rate = rate;
  std::printf("%-34s %9.3f ms %8.1f TFLOP/s %5.1f %% of product\n", name, seconds * 1e3,
              rate / 1e12, 100 * rate / product_rate);
}

void products(int64_t T) {
  struct Shape {
    const char* name;
    int64_t out, in, rank;
  };
  const int64_t square = 8192;
  {
    const Block<act_t> a(square * square, 1), b(square * square, 2), c(square * square, 3);
    multiplies("product 8192 x 8192 x 8192", 2.0 * double(square * square * square), [&] {
      ops::gemm(c.data, square, a.data, square, false, b.data, square, true, square, square, square,
                1.0f, 0.0f, device());
    });
  }
  for (const Shape& s :
       {Shape{"qkv", kQkv, kHidden, 3 * kRank}, Shape{"o", kHidden, kHidden, kRank},
        Shape{"gate up", 2 * kFfn, kHidden, 2 * kRank}, Shape{"down", kHidden, kFfn, kRank}}) {
    const int64_t in = s.in + s.rank, ld = pitch(in);
    const Block<act_t> x(T * ld, 1), w(s.out * ld, 2), y(T * s.out, 3);
    const double flops = 2.0 * double(T) * double(s.out) * double(in);
    multiplies((std::string(s.name) + " forward").c_str(), flops, [&] {
      ops::gemm(y.data, s.out, x.data, ld, false, w.data, ld, true, T, s.out, in, 1.0f, 0.0f,
                device());
    });
    multiplies((std::string(s.name) + " backward").c_str(), flops, [&] {
      ops::gemm(x.data, ld, y.data, s.out, false, w.data, ld, false, T, in, s.out, 1.0f, 0.0f,
                device());
    });
  }
}

// LoRA beside the products of the four groups, and an adapter's copies after a step.
void lora(int64_t T) {
  struct Group {
    const char* name;
    int64_t in;
    std::vector<int64_t> outs;
  };
  const Block<int32_t> positions(T);
  const ops::DropoutSite site{1, 2, 3, 0.05f, positions.data, positions.data};
  for (const Group& g : {Group{"qkv", kHidden, {4096, 1024, 1024}}, Group{"o", kHidden, {kHidden}},
                         Group{"gate up", kHidden, {kFfn, kFfn}}, Group{"down", kFfn, {kHidden}}}) {
    const int64_t R = kRank * static_cast<int64_t>(g.outs.size()), ld = pitch(g.in + R);
    int64_t out = 0;
    std::vector<ops::LoraPart> parts;
    for (const int64_t rows : g.outs) {
      parts.push_back({nullptr, rows, out, kRank, kRank * static_cast<int64_t>(parts.size())});
      out += rows;
    }
    const Block<act_t> x(T * ld, 1), dx(T * ld, 2), dy(T * out, 3), a(R * g.in, 4);
    const Block<float> da(R * g.in), db(kRank * out);
    for (ops::LoraPart& part : parts) part.db = db.data + kRank * part.out_begin;
    const double bytes = 2.0 * double(T * g.in);
    for (const ops::DropoutSite* dropout : {&site, static_cast<const ops::DropoutSite*>(nullptr)}) {
      const std::string name = std::string(", ") + g.name + (dropout != nullptr ? ", dropout" : "");
      moves(("LoRA U" + name).c_str(), bytes, [&] {
        ops::lora_down_forward(x.data + g.in, ld, x.data, ld, a.data, T, g.in, R, dropout,
                               device());
      });
      moves(("LoRA dA, dX" + name).c_str(), 3 * bytes, [&] {
        ops::lora_input_backward(da.data, dx.data, ld, dx.data + g.in, ld, x.data, ld, a.data, T,
                                 g.in, R, dropout, device());
      });
    }
    moves((std::string("LoRA dA, ") + g.name + ", dropout").c_str(), bytes, [&] {
      ops::lora_input_backward(da.data, nullptr, ld, dx.data + g.in, ld, x.data, ld, a.data, T,
                               g.in, R, &site, device());
    });
    moves((std::string("LoRA dB, ") + g.name).c_str(), 2.0 * double(T * out), [&] {
      ops::lora_b_backward(parts.data(), static_cast<int>(parts.size()), dy.data, out,
                           x.data + g.in, ld, T, 2.0f, device());
    });
  }
  const int64_t A = kRank * kHidden, B = kRank * kFfn, layers = 32;
  std::vector<ops::CastWindow> windows;
  const int64_t each = 4 * A + B;
  const Block<float> master(layers * 2 * each);
  const Block<act_t> copy(layers * 2 * each);
  int64_t at = 0;
  for (int64_t i = 0; i < 2 * layers; ++i) {
    for (const int64_t cols : {kHidden, kHidden, kHidden, kHidden, kFfn}) {
      const int64_t rows = i % 2 == 0 ? kRank : cols, width = i % 2 == 0 ? cols : kRank;
      windows.push_back({copy.data + at, width, master.data + at, rows, static_cast<int32_t>(width),
                         0, static_cast<int32_t>(width), 2.0f});
      at += rows * width;
    }
  }
  moves("scale_cast_windows, 320", 6.0 * double(at), [&] {
    ops::scale_cast_windows(windows.data(), static_cast<int64_t>(windows.size()), device());
  });
}

void weights() {
  const int64_t n = kFfn * kHidden, blocks = n / 64, ld = pitch(kHidden + 2 * kRank);
  const Block<act_t> dst(kFfn * ld);
  const Block<uint8_t> packed(n / 2), codes(blocks);
  const Block<float> absmax2(blocks / 256), absmax(blocks), values(n);
  ops::Weight w;
  w.out = kFfn;
  w.in = kHidden;
  w.packed = packed.data;
  w.absmax_codes = codes.data;
  w.absmax2 = absmax2.data;
  const double read = double(n) / 2 + double(blocks);
  moves("dequantize NF4 double", read + 2.0 * double(n),
        [&] { ops::dequantize(dst.data, ld, w, 0, kFfn, 0, kHidden, device()); });
  moves("dequantize NF4 double, a quarter of the columns", (read + 2.0 * double(n)) / 4, [&] {
    ops::dequantize(dst.data, kHidden / 4, w, 0, kFfn, kHidden / 4, kHidden / 4, device());
  });
  w.absmax_codes = nullptr;
  w.absmax = absmax.data;
  moves("dequantize NF4", read + 3.0 * double(blocks) + 2.0 * double(n),
        [&] { ops::dequantize(dst.data, ld, w, 0, kFfn, 0, kHidden, device()); });
  moves("nf4_quantize", 4.5 * double(n),
        [&] { ops::nf4_quantize(packed.data, absmax.data, values.data, n, device()); });
}

// One row of the table: bytes that come from host memory, by the wall clock.
void streams(const char* name, double bytes, const std::function<void()>& work) {
  if (!selected(name)) return;
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    device().synchronize();
    const auto begin = std::chrono::steady_clock::now();
    work();
    device().synchronize();
    const auto end = std::chrono::steady_clock::now();
    best = std::min(best, std::chrono::duration<double>(end - begin).count());
  }
  std::printf("%-34s %9.3f ms %8.2f GB/s\n", name, best * 1e3, bytes / best / 1e9);
}

// A bf16 weight from host memory to NF4 as Weights::load takes it, and what bounds that.
void loading() {
  if (!selected("host")) return;
  const int64_t n = kFfn * kHidden, chunk = int64_t{1} << 22;
  const double bytes = 2.0 * double(n);
  std::vector<uint16_t> host(static_cast<size_t>(n)), copy(static_cast<size_t>(n));
  for (size_t i = 0; i < host.size(); ++i) host[i] = uint16_t(0x3c00u + i * 2654435761u % 1024u);
  const Block<act_t> raw(n);
  const Block<float> staging(chunk), values(chunk), absmax(n / 64);
  const Block<uint8_t> packed(n / 2);
  streams("host memcpy, one thread", bytes,
          [&] { std::memcpy(copy.data(), host.data(), size_t(n) * 2); });
  void* pinned = nullptr;
  qlora::cuda::check(cudaHostAlloc(&pinned, size_t(n) * 2, cudaHostAllocDefault), "pinned memory");
  std::memcpy(pinned, host.data(), size_t(n) * 2);
  streams("pinned host memory to the GPU", bytes, [&] {
    qlora::cuda::check(
        cudaMemcpyAsync(raw.data, pinned, size_t(n) * 2, cudaMemcpyHostToDevice, device().stream()),
        "copying to the GPU");
  });
  cudaFreeHost(pinned);
  streams("host memory to the GPU", bytes,
          [&] { device().copy_to_device(raw.data, host.data(), size_t(n) * 2); });
  streams("host memory bf16 to NF4", bytes, [&] {
    for (int64_t begin = 0; begin < n; begin += chunk) {
      const int64_t count = std::min(chunk, n - begin);
      ops::load_f32(values.data, host.data() + begin, QLORA_BF16, count, staging.data, device());
      ops::nf4_quantize(packed.data + begin / 2, absmax.data + begin / 64, values.data, count,
                        device());
    }
  });
}

void layers(int64_t T) {
  const int64_t ld = pitch(kHidden + 3 * kRank), ld_ffn = pitch(kFfn + kRank);
  const Block<act_t> x(T * kHidden, 1), y(T * kHidden, 2), out(T * ld, 3);
  const Block<float> weight(kHidden), rstd(T);
  const double row = 2.0 * double(T * kHidden);
  moves("rmsnorm forward with delta", 4 * row, [&] {
    ops::rmsnorm_forward(out.data, ld, rstd.data, x.data, x.data, y.data, weight.data, T, kHidden,
                         1e-5f, device());
  });
  moves("rmsnorm backward", 4 * row, [&] {
    ops::rmsnorm_backward(y.data, out.data, ld, x.data, rstd.data, weight.data, T, kHidden,
                          device());
  });
  const Block<act_t> gate_up(T * 2 * kFfn, 1), mlp(T * ld_ffn, 2), qkv(T * kQkv, 3);
  const double ffn = 2.0 * double(T * kFfn);
  moves("swiglu forward", 3 * ffn,
        [&] { ops::swiglu_forward(mlp.data, ld_ffn, gate_up.data, T, kFfn, device()); });
  moves("swiglu backward", 5 * ffn,
        [&] { ops::swiglu_backward(gate_up.data, mlp.data, ld_ffn, T, kFfn, device()); });
  const Block<int32_t> positions(T);
  const Block<float> cos(T * 64), sin(T * 64);
  moves("rope", 2.0 * 2.0 * double(T * 40 * 128), [&] {
    ops::rope(qkv.data, kQkv, positions.data, cos.data, sin.data, T, 32, 8, 128, false, device());
  });
  const Block<float> bias(kQkv);
  moves("bias", 4.0 * double(T * kQkv),
        [&] { ops::bias_forward(qkv.data, kQkv, bias.data, T, kQkv, device()); });
  moves("gather_rows", 2 * row,
        [&] { ops::gather_rows(y.data, x.data, kHidden, positions.data, T, kHidden, device()); });
  moves("scatter_add_rows", 3 * row, [&] {
    ops::scatter_add_rows(y.data, x.data, kHidden, positions.data, T, kHidden, device());
  });
  const int64_t targets = std::min<int64_t>(T, 2048), chunk = 16032;  // an eighth of the vocabulary
  const Block<float> logits(targets * chunk), expected(targets * kHidden), softmax(targets * 4);
  const Block<act_t> terms(targets * chunk);
  const auto states = reinterpret_cast<ops::SoftmaxState*>(softmax.data);
  moves("cross_entropy, a chunk with gradient", 6.0 * double(targets * chunk), [&] {
    ops::cross_entropy_chunk(states, terms.data, expected.data, logits.data, chunk, positions.data,
                             0, targets, chunk, kHidden, device());
  });
  const int64_t lora = 41943040;
  const Block<float> param(lora), m(lora), v(lora), grad(lora);
  device().fill_zero(v.data, size_t(lora) * 4);
  ops::AdamW options{1e-4, 0.9, 0.999, 1e-8, 0.0, 1, 1.0f};
  moves("adamw, 41.9 million", 7.0 * 4 * double(lora),
        [&] { ops::adamw(param.data, m.data, v.data, grad.data, lora, options, device()); });
  const Block<float> result(2);
  moves("sum_squares, 41.9 million", 4.0 * double(lora), [&] {
    ops::sum_squares(reinterpret_cast<double*>(result.data), grad.data, lora, device());
  });
  moves("accumulate, 41.9 million", 12.0 * double(lora),
        [&] { ops::accumulate(m.data, grad.data, lora, device()); });
}

// `length` tokens a sequence behind a prefix of P, on every set of kernels that the GPU can take.
void attention(int64_t T, int64_t P, int64_t length) {
  using qlora::cuda::AttentionPath;
  const int64_t Q = 32, G = 8, D = 128, ld = pitch(kHidden + kRank);
  std::vector<int32_t> cu = {static_cast<int32_t>(P)};
  double keys = double(P) * double(P + 1) / 2;  // seen, over all tokens
  while (cu.back() < T) {
    cu.push_back(static_cast<int32_t>(std::min<int64_t>(T, cu.back() + length)));
    const double n = double(cu.back() - cu[cu.size() - 2]);
    keys += n * double(P) + n * (n + 1) / 2;
  }
  const int64_t S = static_cast<int64_t>(cu.size()) - 1;
  const Block<int32_t> cu_device(S + 1);
  device().copy_to_device(cu_device.data, cu.data(), cu.size() * sizeof cu[0]);
  const ops::AttentionShape shape = {T, P, S, Q, G, D, P, cu_device.data, cu.data()};
  const Block<act_t> qkv(T * kQkv, 1), out(T * ld, 2), dout(T * ld, 3), dqkv(T * kQkv, 4);
  const Block<float> lse(Q * T);
  const Block<uint8_t> workspace(int64_t(ops::attention_backward_workspace(shape)) / 4 * 4);
  const double product = 2.0 * keys * double(Q * D);
  const std::string sizes = ", " + std::to_string(P) + " + " + std::to_string(length);
  const std::pair<AttentionPath, std::string> paths[] = {
      {AttentionPath::hopper, "hopper"},
      {AttentionPath::large_tiles, "large tiles"},
      {AttentionPath::small_tiles, "small tiles"}};
  for (const auto& path : paths) {
    if (!qlora::cuda::select_attention_path(path.first, device())) continue;
    multiplies(("attention forward" + sizes + ", " + path.second).c_str(), 2 * product, [&] {
      ops::attention_forward(out.data, ld, lse.data, qkv.data, kQkv, shape, device());
    });
    multiplies(("attention backward (7 products)" + sizes + ", " + path.second).c_str(),
               7 * product, [&] {
                 ops::attention_backward(dqkv.data, kQkv, dout.data, ld, out.data, ld, lse.data,
                                         qkv.data, kQkv, workspace.data, shape, device());
               });
  }
  qlora::cuda::select_attention_path(AttentionPath::automatic, device());
}

// Like moves, for ops of a few microseconds: many of them as one CUDA graph, so that the gaps
// between launches are those of a decode step.
void moves_in_graph(const char* name, double bytes, const std::function<void()>& work) {
  if (!selected(name)) return;
  constexpr int kTimes = 24;
  const cudaStream_t stream = device().stream();
  work();  // scratch is allocated
  device().synchronize();
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  qlora::cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
  for (int i = 0; i < kTimes; ++i) work();
  qlora::cuda::check(cudaStreamEndCapture(stream, &graph), "capturing");
  qlora::cuda::check(cudaGraphInstantiate(&replay, graph, 0), "capturing");
  const double seconds =
      time_of([&] { qlora::cuda::check(cudaGraphLaunch(replay, stream), "replaying"); }) / kTimes;
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  std::printf("%-38s %8.2f us %8.0f GB/s    %5.1f %% of copy\n", name, seconds * 1e6,
              bytes / seconds / 1e9, 100 * bytes / seconds / copy_rate);
}

// NF4 weights in device memory, of which groups take what lies at a place.
struct DecodeWeights {
  static constexpr int64_t kCount = 8 * kFfn * kHidden;  // two layers and more
  const Block<uint8_t> packed{kCount / 2}, codes{kCount / 64};
  const Block<float> absmax2{kCount / 64 / 256};
  const Block<act_t> a{3 * kRank * kFfn, 3}, b{2 * kFfn * kRank, 4};

  // Linears [out, in] with as many ranks each, from the value `at` on.
  ops::DecodeGroup group(const std::vector<int64_t>& outs, int64_t in, int64_t rank,
                         int64_t at) const {
    ops::DecodeGroup g;
    g.num_parts = static_cast<int>(outs.size());
    g.rank = rank * g.num_parts;
    g.a = a.data;
    int64_t first = 0;
    for (int p = 0; p < g.num_parts; ++p) {
      ops::DecodePart& part = g.parts[p];
      const int64_t value = at + first * in;
      part.w.out = outs[size_t(p)];
      part.w.in = in;
      part.w.packed = packed.data + value / 2;
      part.w.absmax_codes = codes.data + value / 64;
      part.w.absmax2 = absmax2.data + value / 64 / 256;
      part.first = first;
      part.rank = rank;
      part.rank_offset = rank * p;
      part.scaled_b = rank > 0 ? b.data + first * rank : nullptr;
      first += part.w.out;
    }
    return g;
  }
};

double group_bytes(int64_t out, int64_t in, int64_t ranks) {
  return double(out * in) * (0.5 + 1.0 / 64) + 2.0 * double(ranks * in);
}

// The groups one by one, with and without LoRA.
void decode_groups(int64_t m, const DecodeWeights& weights) {
  const Block<act_t> x(m * (kFfn + kRank), 1), y(m * 2 * kFfn, 2);
  const std::string rows = ", m " + std::to_string(m);
  const auto group = [&](const std::string& name, std::vector<int64_t> outs, int64_t in,
                         int64_t rank) {
    int64_t out = 0, turn = 0;
    for (const int64_t part : outs) out += part;
    const int64_t copies = DecodeWeights::kCount / (out * in);  // in turn: none stays in the cache
    moves_in_graph((name + rows).c_str(), group_bytes(out, in, rank * int64_t(outs.size())), [&] {
      const ops::DecodeGroup g = weights.group(outs, in, rank, turn++ % copies * out * in);
      ops::linear_group_decode(y.data, out, x.data, in + g.rank, m, g, device());
    });
  };
  for (const int64_t rank : {int64_t{0}, kRank}) {
    const std::string lora = rank > 0 ? "+ LoRA " : "";
    group(lora + "q, k, v", {kHidden, 1024, 1024}, kHidden, rank);
    group(lora + "o", {kHidden}, kHidden, rank);
    group(lora + "gate, up", {kFfn, kFfn}, kHidden, rank);
    group(lora + "down", {kHidden}, kFfn, rank);
  }
}

// A whole layer of a decode step, LoRA on all linears; two layers in turn.
void decode_layer(int64_t m, const DecodeWeights& weights, const std::function<void()>& attention,
                  act_t* qkv, act_t* att, double attention_bytes) {
  const Block<act_t> residual(m * kHidden, 1), delta(m * kHidden), in(m * (kHidden + 3 * kRank));
  const Block<act_t> gate_up(m * 2 * kFfn), mlp(m * (kFfn + kRank));
  const Block<float> norm(kHidden);
  const int64_t sizes[] = {kQkv * kHidden, kHidden * kHidden, 2 * kFfn * kHidden, kFfn * kHidden};
  const int64_t values = sizes[0] + sizes[1] + sizes[2] + sizes[3];
  const double bytes = group_bytes(kQkv, kHidden, 3 * kRank) +
                       group_bytes(kHidden, kHidden, kRank) +
                       group_bytes(2 * kFfn, kHidden, 2 * kRank) +
                       group_bytes(kHidden, kFfn, kRank) + attention_bytes;
  int64_t turn = 0;
  moves_in_graph(("layer with LoRA, 336 + 170 keys, m " + std::to_string(m)).c_str(), bytes, [&] {
    int64_t at = turn++ % (DecodeWeights::kCount / values) * values;
    const auto next = [&](int i) { return std::exchange(at, at + sizes[i]); };
    const auto normed = [&](int64_t ld) {
      ops::rmsnorm_forward(in.data, ld, nullptr, residual.data, residual.data, delta.data,
                           norm.data, m, kHidden, 1e-5f, device());
    };
    const auto decode = [&](act_t* y, int64_t ldy, act_t* x, const ops::DecodeGroup& g) {
      ops::linear_group_decode(y, ldy, x, g.parts[0].w.in + g.rank, m, g, device());
    };
    normed(kHidden + 3 * kRank);
    decode(qkv, kQkv, in.data, weights.group({kHidden, 1024, 1024}, kHidden, kRank, next(0)));
    attention();
    decode(delta.data, kHidden, att, weights.group({kHidden}, kHidden, kRank, next(1)));
    normed(kHidden + 2 * kRank);
    decode(gate_up.data, 2 * kFfn, in.data, weights.group({kFfn, kFfn}, kHidden, kRank, next(2)));
    ops::swiglu_forward(mlp.data, kFfn + kRank, gate_up.data, m, kFfn, device());
    decode(delta.data, kHidden, mlp.data, weights.group({kHidden}, kFfn, kRank, next(3)));
  });
}

// One token a sequence, m sequences.
void decode(int64_t m) {
  const std::string rows = ", m " + std::to_string(m);
  const DecodeWeights weights;
  const Block<act_t> x(m * (kFfn + kRank), 1), y(m * 2 * kFfn, 2);
  decode_groups(m, weights);
  if (m > 8) {  // what dequantised weights would take
    const Block<act_t> plain(2 * kFfn * kHidden, 3);
    ops::Weight w;
    w.out = 2 * kFfn;
    w.in = w.ld = kHidden;
    w.plain = plain.data;
    moves_in_graph(("gate, up, bf16" + rows).c_str(), 4.0 * double(kFfn * kHidden), [&] {
      ops::linear_decode(y.data, 2 * kFfn, x.data, kHidden, m, w, 0.0f, device());
    });
  }
  {
    const Block<act_t> head(kVocabulary * kHidden, 3);
    const Block<float> logits(m * kVocabulary);
    ops::Weight w;
    w.out = kVocabulary;
    w.in = w.ld = kHidden;
    w.plain = head.data;
    moves_in_graph(
        ("linear_decode logits" + rows).c_str(), 2.0 * double(kVocabulary * kHidden),
        [&] { ops::linear_decode_f32(logits.data, kVocabulary, x.data, kHidden, m, w, device()); });
    std::vector<ops::SamplingRow> settings(
        size_t(m), ops::SamplingRow{0.7f, 0.9f, 0.0f, 1.1f, 0, 0, 400, 1, 2});
    const Block<uint8_t> settings_device(m * int64_t(sizeof settings[0]));
    device().copy_to_device(settings_device.data, settings.data(),
                            settings.size() * sizeof settings[0]);
    const Block<int32_t> tokens(m), history(400);
    const Block<float> logprobs(m);
    moves_in_graph(("sample" + rows).c_str(), 4.0 * double(m * kVocabulary), [&] {
      ops::sample(tokens.data, logprobs.data, logits.data,
                  reinterpret_cast<const ops::SamplingRow*>(settings_device.data), history.data, m,
                  kVocabulary, device());
    });
  }
  const int64_t G = 8, D = 128, P = 336, capacity = 256, length = 170;
  const Block<act_t> prefix_k(P * G * D, 1), prefix_v(P * G * D, 2);
  const Block<act_t> k(m * capacity * G * D, 3), v(m * capacity * G * D, 4), qkv(m * kQkv, 5);
  const ops::KvCache cache = {prefix_k.data, prefix_v.data, k.data, v.data, capacity, G, D};
  const Block<float> cos((P + capacity) * D / 2), sin((P + capacity) * D / 2);
  const Block<int32_t> slots(m), positions(m);
  const std::vector<int32_t> host(size_t(m), static_cast<int32_t>(length - 1));
  device().copy_to_device(positions.data, host.data(), host.size() * sizeof host[0]);
  const Block<act_t> att(m * (kHidden + kRank));
  const double bytes = 4.0 * double((P + m * length) * G * D);
  const auto attention = [&] {
    ops::attention_decode(att.data, kHidden + kRank, qkv.data, kQkv, cache, slots.data,
                          positions.data, P, cos.data, sin.data, m, 32, device());
  };
  moves_in_graph(("attention_decode, 336 + 170 keys" + rows).c_str(), bytes, attention);
  decode_layer(m, weights, attention, qkv.data, att.data, bytes);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    std::printf("%s\n", qlora::Device::describe().c_str());
    device().make_current();
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "--algos" || mode == "--adapter") {
      const int64_t tokens = argc > 2 ? std::atoll(argv[2]) : 0;
      mode == "--algos" ? bench::gemm_algorithms(tokens) : bench::adapter_products(tokens);
      bench::shared_device().reset();
      return 0;
    }
    const int64_t T = argc > 1 ? std::max<int64_t>(256, std::atoll(argv[1])) : 8192;
    if (argc > 2) filter = argv[2];
    {
      const int64_t count = int64_t{1} << 30;
      const Block<act_t> from(count, 1), to(count, 2);
      moves("copy", 4.0 * double(count),
            [&] { device().copy(to.data, from.data, size_t(count) * sizeof(act_t)); });
    }
    std::printf("%lld tokens\n", static_cast<long long>(T));
    products(T);
    lora(T);
    weights();
    loading();
    layers(T);
    attention(T, 336, 170);
    attention(T, 0, 512);
    for (const int64_t m : {1, 8, 16, 32, 64}) decode(m);
    bench::shared_device().reset();
    return 0;
  } catch (const std::exception& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
