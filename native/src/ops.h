// ops.h: the operations the model's graph is written over. Implemented twice: native/cpu (plain
// C++, fp32, the reference) and native/cuda. The graph in native/src is compiled once per library.
//
// Conventions
//   * Every pointer is device memory unless its name ends in _host. The graph never dereferences
//   one.
//   * Ops are queued on the device's stream in call order and may return before they have run;
//     Device::synchronize waits. Errors throw qlora::Error, never abort.
//   * Outputs first, then inputs, then sizes; the device last. "+=" marks outputs that accumulate.
//   * Activations are act_t: float on the CPU, bf16 on CUDA. Norms, softmax, loss, LoRA master
//     weights and everything named f32 are float. Products accumulate in fp32.
//   * Matrices are row-major with a leading dimension ld ≥ columns, in elements.
//   * Reductions are free of atomics and of scheduling: same inputs, same bits.
//
// Notation: T tokens (rows) of a packed micro-batch, P prefix tokens, S sequences, H hidden size,
// F intermediate size, Q query heads, G key/value heads, D head dim, V vocabulary, R stacked LoRA
// ranks of one linear group, n targets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "act_type.h"  // act_t; one per backend folder

namespace qlora {

// ---- Device ---------------------------------------------------------------------------------

struct DeviceOptions {
  int ordinal = 0;  // CUDA
  int threads = 0;  // CPU; 0 = all available
};

struct DeviceMemory {
  int64_t total_bytes;
  int64_t free_bytes;
  // What a Device takes of it before anything is allocated: the CUDA context and the libraries'
  // workspaces. Of free_bytes it is gone already where a Device exists.
  int64_t overhead_bytes;
};

// A stream with its scratch: thread pool (CPU), or CUDA stream, cuBLASLt handle and its workspace.
class Device {
 public:
  static std::unique_ptr<Device> create(const DeviceOptions& options);
  // JSON object for qlora_library_describe, without creating a stream.
  static std::string describe();
  // memory() of a Device that would be created with these options: free_bytes is what it would
  // leave.
  static DeviceMemory expected_memory(const DeviceOptions& options);
  virtual ~Device() = default;

  virtual void* allocate(size_t bytes) = 0;  // 256-byte aligned; throws Error(out_of_memory)
  virtual void release(void* pointer) noexcept = 0;
  // Host memory that ops read and write like the device's own, at the speed of the bus: for what
  // is used seldom or a few rows at a time. Every copy and fill below takes it too.
  virtual void* allocate_host(size_t bytes) = 0;  // 256-byte aligned; throws Error(out_of_memory)
  virtual void release_host(void* pointer) noexcept = 0;
  // Copies from allocate_host memory beside the ops queued afterwards; begins when those queued
  // before are done. Ops queued after await_copies see all of it.
  virtual void copy_ahead(void* dst, const void* src, size_t bytes) = 0;
  virtual void await_copies() = 0;
  virtual void copy_to_device(void* dst, const void* src_host, size_t bytes) = 0;
  virtual void copy_to_host(void* dst_host, const void* src, size_t bytes) = 0;  // waits
  virtual void copy(void* dst, const void* src, size_t bytes) = 0;
  virtual void fill_zero(void* dst, size_t bytes) = 0;
  virtual void synchronize() = 0;   // also reports errors of queued ops
  virtual void make_current() = 0;  // at every ABI entry: the device selection is per thread
  virtual DeviceMemory memory() const = 0;  // overhead_bytes as it is now

  // What a backend keeps of work that is done again and again.
  class Recording {
   public:
    virtual ~Recording() = default;
  };
  // Does `work`, which queues ops and nothing else. A recording goes with one work: with the same
  // ops and arguments every time, since a backend may queue what it recorded (a CUDA graph) instead.
  // Null at first; dropped by the caller when the work changes, and before the device.
  virtual void run(std::unique_ptr<Recording>& recording, const std::function<void()>& work) {
    static_cast<void>(recording);
    work();
  }
  // Whether it does, so that steps queued ahead and few kinds of work pay.
  virtual bool records() const { return false; }
  // Whether that many rows are better multiplied with NF4 weights than with dequantised ones.
  virtual bool reads_nf4_faster(int64_t rows) const {
    static_cast<void>(rows);
    return false;
  }
};

namespace ops {

// ---- Weights --------------------------------------------------------------------------------

// A linear's weight [out, in], row-major, in one of three forms (the others are null).
struct Weight {
  int64_t out = 0, in = 0;
  const act_t* plain = nullptr;           // unquantised, rows ld apart
  int64_t ld = 0;                         // of plain; ≥ in
  const uint8_t* packed = nullptr;        // NF4, two a byte, first in the high nibble
  const float* absmax = nullptr;          // n = ⌈out·in / 64⌉, or null when double-quantised
  const uint8_t* absmax_codes = nullptr;  // (n)
  const float* absmax2 = nullptr;         // (⌈n / 256⌉)
  float absmax_offset = 0;
};

// Source tensors arrive in host memory in any float dtype and are converted while copied.
// dtype: qlora_dtype value (F32, F16, BF16). staging: ≥ count · 4 bytes of device scratch.
void load_act(act_t* dst, const void* src_host, int dtype, int64_t count, void* staging, Device& d);
void load_f32(float* dst, const void* src_host, int dtype, int64_t count, void* staging, Device& d);

// Block-64 NF4 of count act/float values, bit-identical to bitsandbytes. count % 64 may be
// non-zero.
void nf4_quantize(uint8_t* packed, float* absmax, const float* values, int64_t count, Device& d);
// *offset_host = mean(absmax) in the summation order bitsandbytes' CPU path gives to fp32 accuracy.
void absmax_quantize(uint8_t* codes, float* absmax2, float* offset_host, const float* absmax,
                     int64_t count, Device& d);
// absmax (count) = map[codes] · absmax2 + offset, the inverse.
void absmax_dequantize(float* absmax, const uint8_t* codes, const float* absmax2, float offset,
                       int64_t count, Device& d);
// dst [rows, columns] with leading dimension ld: the window of the weight that begins at
// (row_begin, column_begin). Blocks run over the flat weight: a row of the window may begin inside
// a block, even inside a byte. Copies when plain.
void dequantize(act_t* dst, int64_t ld, const Weight& w, int64_t row_begin, int64_t rows,
                int64_t column_begin, int64_t columns, Device& d);

void random_normal(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double std,
                   Device& d);
// Uniform in [−bound, bound): kaiming_uniform(√5) of A with bound = 1/√in.
void random_uniform(float* dst, int64_t count, uint64_t seed, uint64_t stream_id, double bound,
                    Device& d);

// ---- Dense products -------------------------------------------------------------------------

// c = alpha · op(a) · op(b) + beta · c;  op(a) [m, k], op(b) [k, n], c [m, n]. beta 0 reads no c.
// trans_a: a is stored [k, m]; trans_b: b is stored [n, k] (as a weight [out, in] is).
// On the CPU a row of c has the same bits whatever m is, so that batching changes no answer.
void gemm(act_t* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
          int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
          Device& d);
// The same with an fp32 result (LoRA gradients, logits).
void gemm_f32(float* c, int64_t ldc, const act_t* a, int64_t lda, bool trans_a, const act_t* b,
              int64_t ldb, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, float beta,
              Device& d);
// y [m, out] = x [m, in] · wᵀ + beta · y for few rows (decode, any m ≥ 1, tuned for m ≤ 64): reads
// the quantised form directly. beta is 0 or 1. On the CPU a row of y has the same bits whatever m is.
// On CUDA it has them within m ≤ 4 and within m > 4 for NF4 weights, and within m ≤ 8 for plain ones:
// few and many rows are added up in different orders.
void linear_decode(act_t* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m, const Weight& w,
                   float beta, Device& d);
// The same with an fp32 result and beta 0 (logits).
void linear_decode_f32(float* y, int64_t ldy, const act_t* x, int64_t ldx, int64_t m,
                       const Weight& w, Device& d);

// The linears that share an input, each with its LoRA pair, for few rows:
//   U = x · Aᵀ,  y[:, first_p … first_p + out_p) = x · W_pᵀ + U_p · sB_pᵀ for every part p.
// x [m, in + R]: its last R columns are room for U. Rows as linear_decode has them.
constexpr int kMostParts = 3;
struct DecodePart {
  Weight w;                           // quantised, or plain
  int64_t first = 0;                  // column of y
  const act_t* scaled_b = nullptr;    // s·B [out, rank]; null when rank is 0
  int64_t rank = 0, rank_offset = 0;  // columns of U
};
struct DecodeGroup {
  DecodePart parts[kMostParts];
  int num_parts = 0;
  const act_t* a = nullptr;  // A [rank, in], the parts' stacked; null when rank is 0
  int64_t rank = 0;          // R
};
void linear_group_decode(act_t* y, int64_t ldy, act_t* x, int64_t ldx, int64_t m,
                         const DecodeGroup& group, Device& d);

// ---- LoRA -----------------------------------------------------------------------------------
// A group is the linears that share an input: qkv, o, gate+up, down. With X [T, in], stacked
// A [R, in] (fp32 master), per part p of the group out_p rows, rank r_p and B_p [out_p, r_p]:
//   U = drop(X) · Aᵀ,   Y = [X | U] · [W | s·B]ᵀ  (s·B block-diagonal over the parts).
// Backwards, with [dX | dU] = dY · [W | s·B] from one product:
//   dA += dUᵀ · drop(X),   dX += drop'(dU · A),   dB_p += s · dY_pᵀ · U_p.
// drop(X) exists nowhere in memory: each op draws the mask again.

// dst [rows, cols] act_t (ld) = scale · src f32 [rows, cols] contiguous.
void scale_cast(act_t* dst, int64_t ld, const float* src, int64_t rows, int64_t cols, float scale,
                Device& d);
// One window of a matrix, for scale_cast_windows: dst [rows, cols] (ld) is scale · src in columns
// [src_begin, src_begin + src_cols) and zero in the others. src f32 [rows, src_cols] contiguous.
struct CastWindow {
  act_t* dst;
  int64_t ld;
  const float* src;
  int64_t rows;
  int32_t cols, src_begin, src_cols;
  float scale;
};
// Any number of windows in few launches: an adapter is hundreds of small matrices. The table is in
// host memory and may be reused on return.
void scale_cast_windows(const CastWindow* windows_host, int64_t count, Device& d);

// Names the random stream of one dropout application. The mask of element (token, column) depends
// on seed, step, site, the token's sequence key and position, and column; never on the token's row.
// drop(x) = mask · x / (1 − p). Mask: Philox4x32-10, key (seed_lo ^ site · 0x9E3779B9, seed_hi),
// counter (column / 8, position, sequence key, step); eight 16-bit uniforms a call, low half of
// word 0 first; dropped where u16 < round(p · 65536).
struct DropoutSite {
  uint64_t seed;
  uint32_t step;
  uint32_t site;  // layer · 4 + group
  float probability;
  const int32_t* keys;       // (T): of the tokens' sequences
  const int32_t* positions;  // (T)
};

// u [T, R] = drop(x) · aᵀ;  x [T, in], a [R, in] contiguous. dropout null: drop(x) = x.
void lora_down_forward(act_t* u, int64_t ldu, const act_t* x, int64_t ldx, const act_t* a,
                       int64_t T, int64_t in, int64_t R, const DropoutSite* dropout, Device& d);
// da [R, in] f32 contiguous += duᵀ · drop(x), and unless dx is null dx [T, in] += drop'(du · a).
// du [T, R]; the mask is the forward's.
void lora_input_backward(float* da, act_t* dx, int64_t lddx, const act_t* du, int64_t lddu,
                         const act_t* x, int64_t ldx, const act_t* a, int64_t T, int64_t in,
                         int64_t R, const DropoutSite* dropout, Device& d);
// One part of a group: dB [out, rank] f32 contiguous; its columns of dY and of U.
struct LoraPart {
  float* db;
  int64_t out, out_begin;
  int64_t rank, rank_begin;
};
// For every part: db += scale · dy[:, out_begin … + out]ᵀ · u[:, rank_begin … + rank], over T rows.
void lora_b_backward(const LoraPart* parts_host, int num_parts, const act_t* dy, int64_t lddy,
                     const act_t* u, int64_t ldu, int64_t T, float scale, Device& d);

// ---- Layers ---------------------------------------------------------------------------------

// out [T, H] = table[ids];  table [V, H].
void embedding_forward(act_t* out, const int32_t* ids, const act_t* table, int64_t T, int64_t H,
                       Device& d);

// x = residual + delta (delta null: x = residual); out = x · rstd · weight,
// rstd = 1 / √(mean(x²) + eps).  x is written to sum, which may be residual itself, and must be
// null when delta is.  residual, delta, sum [T, H] contiguous. rstd (T) is kept for the backward
// pass; may be null.
void rmsnorm_forward(act_t* out, int64_t ld_out, float* rstd, act_t* sum, const act_t* residual,
                     const act_t* delta, const float* weight, int64_t T, int64_t H, float eps,
                     Device& d);
// dresidual += d(rmsnorm)/dx · dout.  x: the residual the forward normalised.
void rmsnorm_backward(act_t* dresidual, const act_t* dout, int64_t ld_out, const act_t* x,
                      const float* rstd, const float* weight, int64_t T, int64_t H, Device& d);
// Per-head norm of q and k (Qwen3), in place on heads [first, first + count) of qkv; weight (D).
// rstd (T, count) is kept.
void head_norm_forward(act_t* qkv, int64_t ld, float* rstd, const float* weight, int64_t T,
                       int64_t first, int64_t count, int64_t D, float eps, Device& d);
// In place on dqkv; y = the forward's normalised output, before rope.
void head_norm_backward(act_t* dqkv, int64_t ld, const act_t* y, int64_t ldy, const float* rstd,
                        const float* weight, int64_t T, int64_t first, int64_t count, int64_t D,
                        Device& d);

// y [T, C] += bias (C).
void bias_forward(act_t* y, int64_t ld, const float* bias, int64_t T, int64_t C, Device& d);

// Rotates heads [0, Q + G) of qkv [T, (Q + 2G)·D] in place, Hugging Face's half-split layout;
// cos, sin [max_position, D/2] f32. inverse = true is the backward pass.
void rope(act_t* qkv, int64_t ld, const int32_t* positions, const float* cos, const float* sin,
          int64_t T, int64_t Q, int64_t G, int64_t D, bool inverse, Device& d);

// Packed causal attention with a shared prefix. Tokens [0, P) are the prefix; sequence s is
// [cu_seqlens[s], cu_seqlens[s+1]), cu_seqlens[0] == P. A prefix token sees the prefix up to
// itself; a sequence's token sees the whole prefix and its own sequence up to itself.
struct AttentionShape {
  int64_t T, P, S;
  int64_t Q, G, D;
  int64_t max_sequence;            // longest of the prefix and the sequences, tokens
  const int32_t* cu_seqlens;       // (S + 1)
  const int32_t* cu_seqlens_host;  // the same on the host, for launch shapes
};
// out [T, Q·D] (ld_out); lse [Q, T] f32 = log Σ exp(scores / √D), kept for the backward pass.
void attention_forward(act_t* out, int64_t ld_out, float* lse, const act_t* qkv, int64_t ld,
                       const AttentionShape& shape, Device& d);
// dqkv [T, (Q + 2G)·D] is overwritten. The prefix's dK and dV sum over all sequences, in a fixed
// order. workspace: attention_backward_workspace(shape) bytes, which may depend on the sizes but
// not on cu_seqlens (null when planning) and never falls when T, P, S or max_sequence grow: a
// trainer allocates it once, for P = max_sequence = T = max_tokens.
size_t attention_backward_workspace(const AttentionShape& shape);
void attention_backward(act_t* dqkv, int64_t ld_dqkv, const act_t* dout, int64_t ld_dout,
                        const act_t* out, int64_t ld_out, const float* lse, const act_t* qkv,
                        int64_t ld, void* workspace, const AttentionShape& shape, Device& d);

// out [T, F] = silu(gate) · up;  gate_up [T, 2F]: gate first.
void swiglu_forward(act_t* out, int64_t ld_out, const act_t* gate_up, int64_t T, int64_t F,
                    Device& d);
// In place: gate_up becomes d(gate_up).
void swiglu_backward(act_t* gate_up, const act_t* dout, int64_t ld_dout, int64_t T, int64_t F,
                     Device& d);

// out [n, H] = x[rows];  dx[rows] += dout [n, H], rows ascending, repeats allowed, fixed order. Both
// matrices have the leading dimension ld.
void gather_rows(act_t* out, const act_t* x, int64_t ld, const int32_t* rows, int64_t n, int64_t H,
                 Device& d);
void scatter_add_rows(act_t* dx, const act_t* dout, int64_t ld, const int32_t* rows, int64_t n,
                      int64_t H, Device& d);

// ---- Loss -----------------------------------------------------------------------------------

// The cross-entropy of n rows and its gradient, a chunk of the vocabulary at a time, so that whole
// logits never exist and the head is read once. Per row, with z the logits of a chunk and W [V, H]
// the head:
//   top' = max(top, max z);   shrink = e^(top − top');   sum' = sum · shrink + Σ e^(z − top')
//   expected' = expected · shrink + Σ e^(z − top') · W[column]
// and after the last chunk
//   nll = top + log sum − z[id];   d(weight · nll)/dx = weight · (expected / sum − W[id])
// The terms e^(z − top') are the softmax before its division: at most 1, and exactly 1 where z is
// the largest yet, so that act_t costs them no more than it costs probabilities.
struct SoftmaxState {
  double sum;
  float top;
  float target;  // z[id], once its chunk has been seen
};
// logits [n, C] f32 (ld): columns [first, first + C) of the vocabulary. terms [n, C] (ld) becomes
// e^(z − top'), expected [n, H] f32 is multiplied by shrink; both null without a gradient.
// first == 0 begins: state is not read, expected not touched.
void cross_entropy_chunk(SoftmaxState* state, act_t* terms, float* expected, const float* logits,
                         int64_t ld, const int32_t* ids, int64_t first, int64_t n, int64_t C,
                         int64_t H, Device& d);
// nll (n), and dx [n, H] unless it and expected are null. head: W, plain; read at the ids only.
// weights may be null (all 1).
void cross_entropy_finish(float* nll, act_t* dx, const SoftmaxState* state, const float* expected,
                          const Weight& head, const int32_t* ids, const float* weights, int64_t n,
                          int64_t H, Device& d);

// ---- Optimiser ------------------------------------------------------------------------------

// result[0] (f64, device) = Σ x², fixed order.
void sum_squares(double* result, const float* x, int64_t count, Device& d);
// dst += src
void accumulate(float* dst, const float* src, int64_t count, Device& d);
struct AdamW {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;      // 1 for the first
  float grad_scale;  // 1/weight_sum, times the clipping factor
};
// torch.optim.AdamW on fp32: param ·= 1 − lr·wd; moments; param −= lr/(1−β1ᵗ) · m / (√v/√(1−β2ᵗ) +
// ε).
void adamw(float* param, float* m, float* v, const float* grad, int64_t count, const AdamW& options,
           Device& d);

// ---- Decode ---------------------------------------------------------------------------------

// The caches of one layer: shared prefix k, v [prefix_capacity, G·D]; per slot
// k, v [slot_capacity, G·D]; slot-major.
struct KvCache {
  act_t *prefix_k, *prefix_v;
  act_t *k, *v;
  int64_t slot_capacity;
  int64_t G, D;
};
// Appends rows of qkv to their slots: row i goes to slot_of_row[i] at position_in_slot[i];
// slot −1 is the prefix.
void kv_append(const KvCache& cache, const act_t* qkv, int64_t ld, const int32_t* slot_of_row,
               const int32_t* position_in_slot, int64_t rows, int64_t Q, Device& d);
// The reverse for the first tokens of the prefix, or of a slot: rows [0, rows) of qkv get the keys
// and values at [0, rows); the queries are left alone.
void kv_load(act_t* qkv, int64_t ld, const KvCache& cache, int32_t slot, int64_t rows, int64_t Q,
             Device& d);
// A token a sequence: row i is token positions[i] of slot slots[i] (≥ 0, no two rows the same slot,
// or the same row twice). q and k are rotated by the angle of prefix_length + positions[i] (cos, sin
// as rope has them), k and v appended to the slot, and q attends to the prefix (prefix_length
// tokens) and to the slot up to itself.  out [rows, Q·D]; qkv may be changed. A row of out has the
// same bits whatever the other rows are.
void attention_decode(act_t* out, int64_t ld_out, act_t* qkv, int64_t ld, const KvCache& cache,
                      const int32_t* slots, const int32_t* positions, int64_t prefix_length,
                      const float* cos, const float* sin, int64_t rows, int64_t Q, Device& d);

// Per row: settings of one sampling decision.
struct SamplingRow {
  float temperature, top_p, min_p, repetition_penalty;
  int32_t top_k;
  int32_t history_begin, history_end;  // tokens of prefix, prompt and answer in `history`
  uint32_t counter;                    // token index in the answer
  uint64_t seed;
};
// tokens (rows), logprobs (rows) from logits [rows, V] f32 (destroyed). temperature 0 takes the
// argmax after the penalty, the lowest id on ties. Order as transformers: penalty, temperature,
// top-k, top-p, min-p. logprobs: of the token under softmax(logits) before any of these.
// The choice depends on the row's logits, seed and counter only, never on the other rows.
void sample(int32_t* tokens, float* logprobs, float* logits, const SamplingRow* rows_settings,
            const int32_t* history, int64_t rows, int64_t V, Device& d);

// What a decode step leaves for the next, all in device memory: row i goes on with the token it was
// given, one position further.
struct DecodeRows {
  int32_t* ids;            // (rows) become tokens
  int32_t* positions;      // (rows) in their slots; + 1, at most last_position
  SamplingRow* settings;   // (rows) counter + 1; with a repetition penalty history_end + 1
  int32_t* history;        // with a repetition penalty: the token, at history_end
  int32_t* steps;          // (1) + 1
  int32_t* all_tokens;     // [steps, rows]: row `steps` becomes tokens
  float* all_logprobs;     // the same
  int32_t last_position;
};
void advance(const DecodeRows& state, const int32_t* tokens, const float* logprobs, int64_t rows,
             Device& d);

}  // namespace ops
}  // namespace qlora
