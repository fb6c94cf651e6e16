// Generation: key/value caches, continuous batching, sampling.
//
// A step gives every live sequence one token. Prompts queued since the last step are prefilled
// first and take their first token from the prefill's logits. Prefill uses the products and the
// packed attention of training, decode those for few rows: a sequence's arithmetic never depends on
// what else runs.
//
// A step feeds the next on the device: tokens, positions and the history of the penalty stay there.
// So a backend that records steps gets several at a time before the host looks at the tokens; those
// behind a sequence's end are dropped, and nothing else changes.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "arena.h"
#include "model.h"

namespace qlora {

class Generator {
 public:
  Generator(std::shared_ptr<Model> model, const qlora_generator_config& config);

  void set_prefix(const int32_t* token_ids, int64_t count);
  int32_t add(const int32_t* token_ids, int64_t count, const qlora_sampling& sampling);
  void remove(int32_t sequence);

  struct RunResult {
    int64_t count = 0;
    bool cancelled = false;
  };
  // Writes at most capacity tokens; stops early, between steps, when the next step would not fit.
  RunResult run(int64_t max_steps, qlora_generated_token* tokens, int64_t capacity);
  int64_t live() const { return static_cast<int64_t>(sequences_.size()); }

  Model& model() { return *model_; }

 private:
  struct Sequence {
    int32_t id = 0;
    int32_t slot = 0;
    std::vector<int32_t> tokens;  // prompt, then answer
    int64_t prompt = 0;           // tokens of the prompt alone
    int64_t cached = 0;           // tokens whose keys and values are in the slot
    qlora_sampling sampling{};
    std::vector<int32_t> stop_ids;
  };
  // Rows of one prefill pass: whole sequences, or a piece of one, behind tokens in the caches.
  struct Rows {
    std::vector<int32_t> token_ids, positions, slots, slot_positions;
    std::vector<int32_t> last;     // rows whose logits are wanted
    std::vector<int32_t> lengths;  // of the sequences
    int64_t prefix = 0;            // tokens all rows see,
    int32_t own_slot = 0;
    int64_t own = 0;  // and tokens of this slot behind them
    int64_t size() const { return static_cast<int64_t>(token_ids.size()); }
  };
  struct Choices {
    std::vector<int32_t> tokens;
    std::vector<float> logprobs;
  };

  // Tokens [begin, end) of one sequence; slot −1 is the prefix itself.
  void add_rows(Rows& rows, const int32_t* token_ids, int64_t begin, int64_t end,
                int32_t slot) const;
  // Runs queued prompts into their slots; the logits of their last rows are the first in logits_.
  void prefill(const std::vector<Sequence*>& fresh);
  void prefill_pass(const Rows& rows, int64_t first_logit);
  void prefill_attention(const Rows& rows, const std::vector<int32_t>& cu_seqlens, int64_t layer);
  void bias_and_norms(act_t* qkv, int64_t rows, int64_t layer);
  // Settings and history of each sequence, with room for `more` tokens, on the device.
  void upload_settings(const std::vector<Sequence*>& order, int64_t more);
  // Steps that may be queued before the host must look.
  int64_t steps_ahead(const std::vector<Sequence*>& running, int64_t most) const;
  // `steps` tokens of each: [steps, rows], where rows ≥ the sequences' number is returned.
  int64_t decode(const std::vector<Sequence*>& running, int64_t steps, Choices& choices);
  void decode_step(int64_t rows);
  // From the first rows of logits_.
  void sample(const std::vector<Sequence*>& order, Choices& choices);
  // Gives a sequence its token; true when that ends it.
  bool emit(Sequence& sequence, int32_t token, float logprob, qlora_generated_token& out);
  // Returns the number of steps taken.
  int64_t step(int64_t max_steps, qlora_generated_token* out, int64_t capacity, int64_t& count);
  int32_t finish_of(const Sequence& sequence) const;
  // Refuses stale caches; fits the buffers to the model as it is.
  void follow_model();
  void size_rows();

  const std::shared_ptr<Model> model_;
  const qlora_generator_config config_;
  uint64_t version_ = 0;                   // of the model when the caches were filled
  std::vector<int32_t> prefix_;            // its keys and values are in the caches
  std::map<int32_t, Sequence> sequences_;  // live, by id
  std::vector<int32_t> free_slots_;
  int32_t next_id_ = 0;

  Arena cache_arena_;
  std::vector<ops::KvCache> caches_;  // one a layer

  std::unique_ptr<Arena> row_arena_;
  int64_t row_capacity_ = 0, shared_capacity_ = 0;
  std::map<int64_t, std::unique_ptr<Device::Recording>> recordings_;  // of steps, by rows
  const float* recorded_angles_ = nullptr;
  // Rows of a pass; qkv_ and att_ have room for the tokens before them.
  act_t* residual_ = nullptr;   // [rows, H]
  act_t* delta_ = nullptr;      // [rows, H]
  act_t* in_ = nullptr;         // [rows, ld qkv]
  act_t* qkv_ = nullptr;        // [shared + rows, (Q + 2G)·D]
  act_t* att_ = nullptr;        // [shared + rows, ld o]
  act_t* mlp_in_ = nullptr;     // [rows, ld gate_up]
  act_t* gate_up_ = nullptr;    // [rows, 2F]
  act_t* mlp_ = nullptr;        // [rows, ld down]
  float* head_rstd_ = nullptr;  // (rows, Q) with qk_norm
  int32_t* ids_ = nullptr;      // (rows) each
  int32_t* positions_ = nullptr;
  int32_t* slots_ = nullptr;
  int32_t* slot_positions_ = nullptr;
  int32_t* cu_seqlens_ = nullptr;  // (rows + 1)
  // Sampling, max_sequences rows.
  int32_t* last_ = nullptr;
  act_t* gathered_ = nullptr;  // [sequences, H]
  act_t* gathered_delta_ = nullptr;
  act_t* normed_ = nullptr;
  float* logits_ = nullptr;     // [sequences, V]
  int32_t* history_ = nullptr;  // (sequences · (prefix + sequence tokens + steps ahead))
  ops::SamplingRow* settings_ = nullptr;
  int32_t* tokens_ = nullptr;
  float* logprobs_ = nullptr;
  // Of the decode steps.
  int32_t* state_ = nullptr;       // ids, slots, positions in them (sequences each), steps taken
  int32_t* all_tokens_ = nullptr;  // [steps ahead, sequences] each
  float* all_logprobs_ = nullptr;
};

}  // namespace qlora
