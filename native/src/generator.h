// Generation: key/value caches, continuous batching, sampling.
//
// A step gives every live sequence one token. Prompts queued since the last step are prefilled
// first and take their first token from the prefill's logits. Prefill uses the products of
// training, decode those for few rows: a sequence's arithmetic never depends on what else runs.
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
  // Rows of one pass through the layers.
  struct Rows {
    std::vector<int32_t> token_ids, positions, slots, slot_positions, lengths;
    std::vector<int32_t> last;  // rows whose logits are wanted
    int64_t size() const { return static_cast<int64_t>(token_ids.size()); }
  };

  // A row's token at a position of a slot; slot −1 is the prefix.
  void add_row(Rows& rows, int32_t token, int32_t slot, int64_t slot_position) const;
  // Runs queued prompts into their slots; the logits of their last rows are the first in logits_.
  void prefill(const std::vector<Sequence*>& fresh);
  void layers(const Rows& rows, bool decode);
  void attention(const Rows& rows, int64_t layer);
  // Logits of rows.last, from row first_logit of logits_ on.
  void head(const Rows& rows, int64_t first_logit);
  void upload(const Rows& rows);
  // One token of each sequence from its row of logits_.
  void sample(const std::vector<Sequence*>& order, std::vector<int32_t>& tokens,
              std::vector<float>& logprobs);
  void step(qlora_generated_token* tokens, int64_t& count);
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
  int64_t row_capacity_ = 0;
  // Rows of a pass.
  act_t* residual_ = nullptr;   // [rows, H]
  act_t* delta_ = nullptr;      // [rows, H]
  act_t* in_ = nullptr;         // [rows, ld qkv]
  act_t* qkv_ = nullptr;        // [rows, (Q + 2G)·D]
  act_t* att_ = nullptr;        // [rows, ld o]
  act_t* mlp_in_ = nullptr;     // [rows, ld gate_up]
  act_t* gate_up_ = nullptr;    // [rows, 2F]
  act_t* mlp_ = nullptr;        // [rows, ld down]
  float* head_rstd_ = nullptr;  // (rows, Q) with qk_norm
  int32_t* ids_ = nullptr;      // (rows) each
  int32_t* positions_ = nullptr;
  int32_t* slots_ = nullptr;
  int32_t* slot_positions_ = nullptr;
  int32_t* lengths_ = nullptr;
  // Sampling, max_sequences rows.
  int32_t* last_ = nullptr;
  act_t* gathered_ = nullptr;  // [sequences, H]
  act_t* gathered_delta_ = nullptr;
  act_t* normed_ = nullptr;
  float* logits_ = nullptr;     // [sequences, V]
  int32_t* history_ = nullptr;  // (sequences · (prefix + sequence tokens))
  ops::SamplingRow* settings_ = nullptr;
  int32_t* tokens_ = nullptr;
  float* logprobs_ = nullptr;
};

}  // namespace qlora
