#include "generator.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "group_decode.h"
#include "linear_group.h"

namespace qlora {

namespace {

// Rows prefilled at a time; a longer prompt goes in pieces.
constexpr int64_t kPrefillRows = 1024;
// Steps queued before the host looks at the tokens, where they are recorded.
constexpr int64_t kStepsAhead = 8;

// Rows of a recorded step: few different numbers, so that sequences which end do not each cost a
// recording.
int64_t recorded_rows(int64_t sequences, int64_t most) {
  constexpr int64_t kFew = 4, kStep = 8;
  if (sequences <= kFew) return sequences;
  return std::min(most, (sequences + kStep - 1) / kStep * kStep);
}

void check_config(const qlora_generator_config& c, const Architecture& arch) {
  check_struct_size("qlora_generator_config", c.struct_size, sizeof(qlora_generator_config));
  const auto check = [](const char* field, int64_t value, int64_t low, int64_t high) {
    if (value >= low && value <= high) return;
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                std::string(field) + " must be between " + std::to_string(low) + " and " +
                    std::to_string(high) + ", found " + std::to_string(value));
  };
  check("max_sequences", c.max_sequences, 1, 1 << 16);
  check("max_prefix_tokens", c.max_prefix_tokens, 0, arch.config.max_position - 1);
  // One token of a sequence's capacity is emitted and never fed back.
  check("max_sequence_tokens (with max_prefix_tokens below max_position)", c.max_sequence_tokens, 2,
        int64_t{arch.config.max_position} - c.max_prefix_tokens + 1);
}

void check_tokens(const int32_t* token_ids, int64_t count, int64_t vocabulary) {
  if (count > 0 && token_ids == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "token_ids must not be NULL");
  }
  for (int64_t i = 0; i < count; ++i) {
    if (token_ids[i] >= 0 && token_ids[i] < vocabulary) continue;
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "token_ids[" + std::to_string(i) + "] must be between 0 and " +
                    std::to_string(vocabulary - 1) + ", found " + std::to_string(token_ids[i]));
  }
}

void check_sampling(const qlora_sampling& s) {
  check_struct_size("qlora_sampling", s.struct_size, sizeof(qlora_sampling));
  const auto check = [](const char* field, double value, bool good, const char* expected) {
    if (good) return;
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, std::string("sampling: ") + field + " must be " +
                                                  expected + ", found " + std::to_string(value));
  };
  check("max_new_tokens", s.max_new_tokens, s.max_new_tokens >= 1, "at least 1");
  check("temperature", s.temperature, s.temperature >= 0 && std::isfinite(s.temperature),
        "0 (greedy) or a positive number");
  check("top_p", s.top_p, s.top_p > 0 && s.top_p <= 1, "above 0 and at most 1");
  check("min_p", s.min_p, s.min_p >= 0 && s.min_p <= 1, "between 0 and 1");
  check("repetition_penalty", s.repetition_penalty,
        s.repetition_penalty > 0 && std::isfinite(s.repetition_penalty), "a positive number");
  check("top_k", s.top_k, s.top_k >= 0, "0 (off) or a positive number");
  check("num_stop_ids", s.num_stop_ids, s.num_stop_ids >= 0, "at least 0");
  if (s.num_stop_ids > 0 && s.stop_ids == nullptr) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "sampling: stop_ids must not be NULL");
  }
}

template <class T>
void upload_vector(T* to, const std::vector<T>& from, Device& device) {
  if (!from.empty()) device.copy_to_device(to, from.data(), from.size() * sizeof(T));
}

}  // namespace

Generator::Generator(std::shared_ptr<Model> model, const qlora_generator_config& config)
    : model_(std::move(model)), config_(config) {
  model_->require_finalized();
  const Architecture& arch = model_->arch();
  check_config(config_, arch);
  model_->prepare();
  model_->require_positions(int64_t{config_.max_prefix_tokens} + config_.max_sequence_tokens);
  const int64_t width = arch.G * arch.D;
  caches_.resize(static_cast<size_t>(arch.L));
  for (ops::KvCache& cache : caches_) {
    cache.slot_capacity = config_.max_sequence_tokens;
    cache.G = arch.G;
    cache.D = arch.D;
    cache.prefix_k = cache.prefix_v = nullptr;
    if (config_.max_prefix_tokens > 0) {
      cache_arena_.add(cache.prefix_k, Memory::kv_cache, config_.max_prefix_tokens * width);
      cache_arena_.add(cache.prefix_v, Memory::kv_cache, config_.max_prefix_tokens * width);
    }
    const int64_t rows = int64_t{config_.max_sequences} * config_.max_sequence_tokens;
    cache_arena_.add(cache.k, Memory::kv_cache, rows * width);
    cache_arena_.add(cache.v, Memory::kv_cache, rows * width);
  }
  cache_arena_.allocate(model_->device(), model_->budget(),
                        "key/value caches (max_sequences · max_sequence_tokens)");
  for (int32_t slot = config_.max_sequences; slot-- > 0;) free_slots_.push_back(slot);
  size_rows();
  version_ = model_->version();
}

void Generator::size_rows() {
  const Architecture& arch = model_->arch();
  const auto& groups = model_->groups();
  const int64_t sequences = config_.max_sequences;
  const int64_t most =
      std::max<int64_t>(config_.max_prefix_tokens, sequences * config_.max_sequence_tokens);
  row_capacity_ = std::max(sequences, std::min(kPrefillRows, most));
  shared_capacity_ = config_.max_prefix_tokens;
  if (config_.max_sequence_tokens > kPrefillRows) shared_capacity_ += config_.max_sequence_tokens;
  const int64_t packed_rows = shared_capacity_ + row_capacity_;
  recordings_.clear();
  row_arena_ = std::make_unique<Arena>();
  Arena& arena = *row_arena_;
  constexpr Memory kind = Memory::activations;
  arena.add(residual_, kind, row_capacity_ * arch.H);
  arena.add(delta_, kind, row_capacity_ * arch.H);
  arena.add(in_, kind, row_capacity_ * groups[kGroupQkv].ld);
  arena.add(qkv_, kind, packed_rows * arch.qkv_columns());
  arena.add(att_, kind, packed_rows * groups[kGroupO].ld);
  arena.add(mlp_in_, kind, row_capacity_ * groups[kGroupGateUp].ld);
  arena.add(gate_up_, kind, row_capacity_ * 2 * arch.F);
  arena.add(mlp_, kind, row_capacity_ * groups[kGroupDown].ld);
  if (arch.config.qk_norm != 0) arena.add(head_rstd_, kind, row_capacity_ * arch.Q);
  for (int32_t** array : {&ids_, &positions_, &slots_, &slot_positions_}) {
    arena.add(*array, kind, row_capacity_);
  }
  arena.add(cu_seqlens_, kind, row_capacity_ + 1);
  arena.add(last_, kind, sequences);
  arena.add(gathered_, kind, sequences * arch.H);
  arena.add(gathered_delta_, kind, sequences * arch.H);
  arena.add(normed_, kind, sequences * arch.H);
  arena.add(logits_, Memory::workspace, sequences * arch.V);
  arena.add(history_, kind,
            sequences * (config_.max_prefix_tokens + config_.max_sequence_tokens + kStepsAhead));
  arena.add(settings_, kind, sequences);
  arena.add(tokens_, kind, sequences);
  arena.add(logprobs_, kind, sequences);
  arena.add(state_, kind, 3 * sequences + 1);
  arena.add(all_tokens_, kind, kStepsAhead * sequences);
  arena.add(all_logprobs_, kind, kStepsAhead * sequences);
  arena.allocate(model_->device(), model_->budget(), "generation buffers");
  // Attention computes the queries of the tokens before a pass as well, which nothing has set.
  model_->device().fill_zero(qkv_, static_cast<size_t>(packed_rows * arch.qkv_columns()) *
                                       sizeof(act_t));
}

void Generator::follow_model() {
  if (version_ != model_->version()) {
    bool stale = !prefix_.empty();
    for (const auto& entry : sequences_) stale = stale || entry.second.cached > 0;
    if (stale) {
      throw Error(QLORA_ERROR_STATE,
                  "the adapter has changed or is toggled otherwise than when the keys and values were "
                  "computed; toggle it back, or remove the live sequences, set the prefix and add the "
                  "prompts again");
    }
    size_rows();
    version_ = model_->version();
  }
  model_->prepare();
  if (recorded_angles_ != model_->weights().rope_cos()) {  // the table has grown and moved
    recordings_.clear();
    recorded_angles_ = model_->weights().rope_cos();
  }
}

void Generator::set_prefix(const int32_t* token_ids, int64_t count) {
  if (!sequences_.empty()) {
    throw Error(QLORA_ERROR_STATE, std::to_string(live()) +
                                       " sequences are live; run them to their end or remove them "
                                       "before changing the prefix");
  }
  if (count < 0 || count > config_.max_prefix_tokens) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT, "the prefix must have at most max_prefix_tokens (" +
                                                  std::to_string(config_.max_prefix_tokens) +
                                                  ") tokens, found " + std::to_string(count));
  }
  check_tokens(token_ids, count, model_->arch().V);
  prefix_.clear();
  recordings_.clear();
  follow_model();
  for (int64_t begin = 0; begin < count; begin += kPrefillRows) {
    Rows rows;
    rows.prefix = begin;
    add_rows(rows, token_ids, begin, std::min(count, begin + kPrefillRows), -1);
    prefill_pass(rows, 0);
  }
  model_->device().synchronize();
  if (count > 0) prefix_.assign(token_ids, token_ids + count);
}

int32_t Generator::add(const int32_t* token_ids, int64_t count, const qlora_sampling& sampling) {
  check_sampling(sampling);
  if (count < 1 || count >= config_.max_sequence_tokens) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "a prompt must have at least 1 and fewer than max_sequence_tokens (" +
                    std::to_string(config_.max_sequence_tokens) + ") tokens, found " +
                    std::to_string(count));
  }
  check_tokens(token_ids, count, model_->arch().V);
  follow_model();
  if (free_slots_.empty()) {
    throw Error(QLORA_ERROR_OUT_OF_MEMORY,
                "all " + std::to_string(config_.max_sequences) +
                    " sequences (max_sequences) are live; run, then add again");
  }
  Sequence sequence;
  sequence.id = next_id_++;
  sequence.slot = free_slots_.back();
  sequence.tokens.assign(token_ids, token_ids + count);
  sequence.prompt = count;
  sequence.sampling = sampling;
  if (sampling.num_stop_ids > 0) {
    sequence.stop_ids.assign(sampling.stop_ids, sampling.stop_ids + sampling.num_stop_ids);
  }
  sequence.sampling.stop_ids = nullptr;
  free_slots_.pop_back();
  const int32_t id = sequence.id;
  sequences_.emplace(id, std::move(sequence));
  return id;
}

void Generator::remove(int32_t sequence) {
  const auto found = sequences_.find(sequence);
  if (found == sequences_.end()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "no live sequence has the id " + std::to_string(sequence));
  }
  free_slots_.push_back(found->second.slot);
  sequences_.erase(found);
}

void Generator::add_rows(Rows& rows, const int32_t* token_ids, int64_t begin, int64_t end,
                         int32_t slot) const {
  const int64_t before = slot < 0 ? 0 : static_cast<int64_t>(prefix_.size());
  for (int64_t i = begin; i < end; ++i) {
    rows.token_ids.push_back(token_ids[i]);
    rows.positions.push_back(static_cast<int32_t>(before + i));
    rows.slots.push_back(slot);
    rows.slot_positions.push_back(static_cast<int32_t>(i));
  }
  rows.lengths.push_back(static_cast<int32_t>(end - begin));
}

void Generator::bias_and_norms(act_t* qkv, int64_t rows, int64_t layer) {
  const Architecture& arch = model_->arch();
  const LayerWeights& w = model_->weights().layer(layer);
  Device& d = model_->device();
  const int64_t ld = arch.qkv_columns();
  if (w.qkv_bias != nullptr) ops::bias_forward(qkv, ld, w.qkv_bias, rows, ld, d);
  if (w.q_norm == nullptr) return;
  ops::head_norm_forward(qkv, ld, head_rstd_, w.q_norm, rows, 0, arch.Q, arch.D, arch.eps(), d);
  ops::head_norm_forward(qkv, ld, head_rstd_, w.k_norm, rows, arch.Q, arch.G, arch.D, arch.eps(),
                         d);
}

// ---- prefill ------------------------------------------------------------------------------------

// q, k, v → rope → caches → packed attention, the tokens before the pass as its shared prefix.
void Generator::prefill_attention(const Rows& rows, const std::vector<int32_t>& cu_seqlens,
                                  int64_t layer) {
  const Architecture& arch = model_->arch();
  Device& d = model_->device();
  const int64_t n = rows.size(), before = rows.prefix + rows.own;
  const int64_t ld = arch.qkv_columns();
  act_t* const qkv = qkv_ + before * ld;
  bias_and_norms(qkv, n, layer);
  ops::rope(qkv, ld, positions_, model_->weights().rope_cos(), model_->weights().rope_sin(), n,
            arch.Q, arch.G, arch.D, false, d);
  const ops::KvCache& cache = caches_[static_cast<size_t>(layer)];
  ops::kv_append(cache, qkv, ld, slots_, slot_positions_, n, arch.Q, d);
  ops::kv_load(qkv_, ld, cache, -1, rows.prefix, arch.Q, d);
  ops::kv_load(qkv_ + rows.prefix * ld, ld, cache, rows.own_slot, rows.own, arch.Q, d);
  ops::AttentionShape shape{};
  shape.T = before + n;
  shape.P = before;
  shape.S = static_cast<int64_t>(rows.lengths.size());
  shape.Q = arch.Q;
  shape.G = arch.G;
  shape.D = arch.D;
  shape.max_sequence = before;
  for (const int32_t length : rows.lengths) {
    shape.max_sequence = std::max<int64_t>(shape.max_sequence, length);
  }
  shape.cu_seqlens = cu_seqlens_;
  shape.cu_seqlens_host = cu_seqlens.data();
  ops::attention_forward(att_, model_->groups()[kGroupO].ld, nullptr, qkv_, ld, shape, d);
}

// The rows through all layers; the logits of rows.last, from row first_logit of logits_ on.
void Generator::prefill_pass(const Rows& rows, int64_t first_logit) {
  const Architecture& arch = model_->arch();
  const auto& groups = model_->groups();
  Device& d = model_->device();
  const int64_t n = rows.size(), before = rows.prefix + rows.own;
  const auto product = [&](act_t* y, int64_t ldy, act_t* x, int64_t layer, int group) {
    GroupRows group_rows;
    group_rows.layer = layer;
    group_rows.group = group;
    group_rows.T = n;
    group_forward(y, ldy, x, group_rows, *model_);
  };
  std::vector<int32_t> cu_seqlens = {static_cast<int32_t>(before)};
  for (const int32_t length : rows.lengths) cu_seqlens.push_back(cu_seqlens.back() + length);
  upload_vector(ids_, rows.token_ids, d);
  upload_vector(positions_, rows.positions, d);
  upload_vector(slots_, rows.slots, d);
  upload_vector(slot_positions_, rows.slot_positions, d);
  upload_vector(cu_seqlens_, cu_seqlens, d);
  ops::embedding_forward(residual_, ids_, model_->weights().embeddings(), n, arch.H, d);
  for (int64_t layer = 0; layer < arch.L; ++layer) {
    model_->check_cancelled();
    const LayerWeights& w = model_->weights().layer(layer);
    const bool first = layer == 0;
    ops::rmsnorm_forward(in_, groups[kGroupQkv].ld, nullptr, first ? nullptr : residual_, residual_,
                         first ? nullptr : delta_, w.input_norm, n, arch.H, arch.eps(), d);
    product(qkv_ + before * arch.qkv_columns(), arch.qkv_columns(), in_, layer, kGroupQkv);
    prefill_attention(rows, cu_seqlens, layer);
    product(delta_, arch.H, att_ + before * groups[kGroupO].ld, layer, kGroupO);
    ops::rmsnorm_forward(mlp_in_, groups[kGroupGateUp].ld, nullptr, residual_, residual_, delta_,
                         w.post_norm, n, arch.H, arch.eps(), d);
    product(gate_up_, 2 * arch.F, mlp_in_, layer, kGroupGateUp);
    ops::swiglu_forward(mlp_, groups[kGroupDown].ld, gate_up_, n, arch.F, d);
    product(delta_, arch.H, mlp_, layer, kGroupDown);
  }
  const int64_t wanted = static_cast<int64_t>(rows.last.size());
  if (wanted == 0) return;
  upload_vector(last_, rows.last, d);
  ops::gather_rows(gathered_, residual_, arch.H, last_, wanted, arch.H, d);
  ops::gather_rows(gathered_delta_, delta_, arch.H, last_, wanted, arch.H, d);
  ops::rmsnorm_forward(normed_, arch.H, nullptr, gathered_, gathered_, gathered_delta_,
                       model_->weights().final_norm(), wanted, arch.H, arch.eps(), d);
  ops::linear_decode_f32(logits_ + first_logit * arch.V, arch.V, normed_, arch.H, wanted,
                         model_->weights().head(), d);
}

void Generator::prefill(const std::vector<Sequence*>& fresh) {
  int64_t logits = 0;
  const auto new_rows = [&] {
    Rows rows;
    rows.prefix = static_cast<int64_t>(prefix_.size());
    return rows;
  };
  Rows rows = new_rows();
  const auto flush = [&] {
    if (rows.size() == 0) return;
    prefill_pass(rows, logits);
    logits += static_cast<int64_t>(rows.last.size());
    rows = new_rows();
  };
  for (const Sequence* sequence : fresh) {
    const bool in_pieces = sequence->prompt > kPrefillRows;
    if (in_pieces || rows.size() + sequence->prompt > row_capacity_) flush();
    for (int64_t begin = 0; begin < sequence->prompt; begin += kPrefillRows) {
      if (begin > 0) flush();
      rows.own_slot = sequence->slot;
      rows.own = begin;
      add_rows(rows, sequence->tokens.data(), begin,
               std::min(sequence->prompt, begin + kPrefillRows), sequence->slot);
    }
    rows.last.push_back(static_cast<int32_t>(rows.size() - 1));
    if (in_pieces) flush();
  }
  flush();
}

// ---- decode -------------------------------------------------------------------------------------

void Generator::upload_settings(const std::vector<Sequence*>& order, int64_t more) {
  std::vector<ops::SamplingRow> settings;
  std::vector<int32_t> history;
  for (const Sequence* sequence : order) {
    const qlora_sampling& s = sequence->sampling;
    ops::SamplingRow row{};
    row.temperature = static_cast<float>(s.temperature);
    row.top_p = static_cast<float>(s.top_p);
    row.min_p = static_cast<float>(s.min_p);
    row.repetition_penalty = static_cast<float>(s.repetition_penalty);
    row.top_k = s.top_k;
    row.counter =
        static_cast<uint32_t>(static_cast<int64_t>(sequence->tokens.size()) - sequence->prompt);
    row.seed = s.seed;
    row.history_begin = static_cast<int32_t>(history.size());
    row.history_end = row.history_begin;
    if (row.repetition_penalty != 1.0f) {
      history.insert(history.end(), prefix_.begin(), prefix_.end());
      history.insert(history.end(), sequence->tokens.begin(), sequence->tokens.end());
      row.history_end = static_cast<int32_t>(history.size());
      history.resize(history.size() + static_cast<size_t>(more));
    }
    settings.push_back(row);
  }
  upload_vector(settings_, settings, model_->device());
  upload_vector(history_, history, model_->device());
}

// Everything it takes and leaves is in device memory: a recording of it is a step by itself.
void Generator::decode_step(int64_t rows) {
  const Architecture& arch = model_->arch();
  const auto& groups = model_->groups();
  const Weights& weights = model_->weights();
  Device& d = model_->device();
  const int64_t most = config_.max_sequences;
  int32_t *const ids = state_, *const slots = state_ + most, *const positions = state_ + 2 * most;
  ops::embedding_forward(residual_, ids, weights.embeddings(), rows, arch.H, d);
  for (int64_t layer = 0; layer < arch.L; ++layer) {
    model_->check_cancelled();
    const LayerWeights& w = weights.layer(layer);
    const bool first = layer == 0;
    ops::rmsnorm_forward(in_, groups[kGroupQkv].ld, nullptr, first ? nullptr : residual_, residual_,
                         first ? nullptr : delta_, w.input_norm, rows, arch.H, arch.eps(), d);
    group_decode(qkv_, arch.qkv_columns(), in_, layer, kGroupQkv, rows, *model_);
    bias_and_norms(qkv_, rows, layer);
    ops::attention_decode(att_, groups[kGroupO].ld, qkv_, arch.qkv_columns(),
                          caches_[static_cast<size_t>(layer)], slots, positions,
                          static_cast<int64_t>(prefix_.size()), weights.rope_cos(),
                          weights.rope_sin(), rows, arch.Q, d);
    group_decode(delta_, arch.H, att_, layer, kGroupO, rows, *model_);
    ops::rmsnorm_forward(mlp_in_, groups[kGroupGateUp].ld, nullptr, residual_, residual_, delta_,
                         w.post_norm, rows, arch.H, arch.eps(), d);
    group_decode(gate_up_, 2 * arch.F, mlp_in_, layer, kGroupGateUp, rows, *model_);
    ops::swiglu_forward(mlp_, groups[kGroupDown].ld, gate_up_, rows, arch.F, d);
    group_decode(delta_, arch.H, mlp_, layer, kGroupDown, rows, *model_);
  }
  ops::rmsnorm_forward(normed_, arch.H, nullptr, residual_, residual_, delta_, weights.final_norm(),
                       rows, arch.H, arch.eps(), d);
  ops::linear_decode_f32(logits_, arch.V, normed_, arch.H, rows, weights.head(), d);
  ops::sample(tokens_, logprobs_, logits_, settings_, history_, rows, arch.V, d);
  ops::DecodeRows state{};
  state.ids = ids;
  state.positions = positions;
  state.settings = settings_;
  state.history = history_;
  state.steps = state_ + 3 * most;
  state.all_tokens = all_tokens_;
  state.all_logprobs = all_logprobs_;
  // A sequence that has ended goes on until the host looks: its last place takes what follows.
  state.last_position = config_.max_sequence_tokens - 2;
  ops::advance(state, tokens_, logprobs_, rows, d);
}

int64_t Generator::steps_ahead(const std::vector<Sequence*>& running, int64_t most) const {
  if (!model_->device().records()) return 1;
  int64_t longest = 1;  // until all have ended, whatever they say
  for (const Sequence* sequence : running) {
    const int64_t tokens = static_cast<int64_t>(sequence->tokens.size());
    const int64_t left = std::min<int64_t>(
        sequence->prompt + sequence->sampling.max_new_tokens, config_.max_sequence_tokens);
    longest = std::max(longest, left - tokens);
  }
  return std::min({kStepsAhead, most, longest});
}

int64_t Generator::decode(const std::vector<Sequence*>& running, int64_t steps, Choices& choices) {
  Device& d = model_->device();
  const int64_t most = config_.max_sequences, sequences = static_cast<int64_t>(running.size());
  const int64_t rows = d.records() ? recorded_rows(sequences, most) : sequences;
  // Rows beyond the sequences repeat the first.
  std::vector<Sequence*> order = running;
  order.resize(static_cast<size_t>(rows), running[0]);
  std::vector<int32_t> state(static_cast<size_t>(3 * most + 1), 0);
  for (size_t i = 0; i < order.size(); ++i) {
    state[i] = order[i]->tokens.back();
    state[static_cast<size_t>(most) + i] = order[i]->slot;
    state[static_cast<size_t>(2 * most) + i] = static_cast<int32_t>(order[i]->tokens.size()) - 1;
  }
  upload_vector(state_, state, d);
  upload_settings(order, steps);
  for (int64_t i = 0; i < steps; ++i) d.run(recordings_[rows], [&] { decode_step(rows); });
  const size_t count = static_cast<size_t>(steps * rows);
  choices.tokens.resize(count);
  choices.logprobs.resize(count);
  d.copy_to_host(choices.tokens.data(), all_tokens_, count * sizeof(int32_t));
  d.copy_to_host(choices.logprobs.data(), all_logprobs_, count * sizeof(float));
  return rows;
}

void Generator::sample(const std::vector<Sequence*>& order, Choices& choices) {
  Device& d = model_->device();
  upload_settings(order, 0);
  const size_t n = order.size();
  ops::sample(tokens_, logprobs_, logits_, settings_, history_, static_cast<int64_t>(n),
              model_->arch().V, d);
  choices.tokens.resize(n);
  choices.logprobs.resize(n);
  d.copy_to_host(choices.tokens.data(), tokens_, n * sizeof(int32_t));
  d.copy_to_host(choices.logprobs.data(), logprobs_, n * sizeof(float));
}

int32_t Generator::finish_of(const Sequence& sequence) const {
  const int64_t tokens = static_cast<int64_t>(sequence.tokens.size());
  const auto& stops = sequence.stop_ids;
  if (std::find(stops.begin(), stops.end(), sequence.tokens.back()) != stops.end()) {
    return QLORA_FINISH_STOP;
  }
  const bool full = tokens - sequence.prompt >= sequence.sampling.max_new_tokens ||
                    tokens >= config_.max_sequence_tokens;
  return full ? QLORA_FINISH_LENGTH : QLORA_FINISH_NONE;
}

bool Generator::emit(Sequence& sequence, int32_t token, float logprob,
                     qlora_generated_token& out) {
  if (!std::isfinite(logprob)) {  // it fails alone
    out = {sequence.id, token, logprob, QLORA_FINISH_FAILED};
    remove(sequence.id);
    return true;
  }
  sequence.cached = static_cast<int64_t>(sequence.tokens.size());
  sequence.tokens.push_back(token);
  const int32_t finish = finish_of(sequence);
  out = {sequence.id, token, logprob, finish};
  if (finish != QLORA_FINISH_NONE) remove(sequence.id);
  return finish != QLORA_FINISH_NONE;
}

int64_t Generator::step(int64_t max_steps, qlora_generated_token* out, int64_t capacity,
                        int64_t& count) {
  std::vector<Sequence*> fresh;
  std::vector<Sequence*> running;
  for (auto& entry : sequences_) {
    (entry.second.cached == 0 ? fresh : running).push_back(&entry.second);
  }
  Choices first, next;
  int64_t steps = 1, rows = 0;
  if (!fresh.empty()) {
    prefill(fresh);
    sample(fresh, first);
  } else {
    steps = steps_ahead(running, std::min(max_steps, (capacity - count) / live()));
  }
  if (!running.empty()) rows = decode(running, steps, next);
  for (size_t i = 0; i < fresh.size(); ++i) {
    emit(*fresh[i], first.tokens[i], first.logprobs[i], out[count++]);
  }
  for (int64_t s = 0; s < steps; ++s) {
    for (size_t i = 0; i < running.size(); ++i) {
      if (running[i] == nullptr) continue;  // it has ended
      const size_t at = static_cast<size_t>(s * rows) + i;
      const bool ends = emit(*running[i], next.tokens[at], next.logprobs[at], out[count++]);
      if (ends) running[i] = nullptr;
    }
  }
  return steps;
}

Generator::RunResult Generator::run(int64_t max_steps, qlora_generated_token* tokens,
                                    int64_t capacity) {
  if (max_steps < 1) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "max_steps must be at least 1, found " + std::to_string(max_steps));
  }
  if (capacity < live()) {
    throw Error(QLORA_ERROR_INVALID_ARGUMENT,
                "capacity must hold a token of each of the " + std::to_string(live()) +
                    " live sequences, found " + std::to_string(capacity));
  }
  RunResult result;
  if (live() == 0) return result;
  follow_model();
  try {
    for (int64_t taken = 0; taken < max_steps && live() > 0;) {
      if (result.count + live() > capacity) break;
      model_->check_cancelled();
      taken += step(max_steps - taken, tokens, capacity, result.count);
    }
  } catch (const Error& error) {
    if (error.status() != QLORA_ERROR_CANCELLED) throw;
    result.cancelled = true;
  }
  return result;
}

}  // namespace qlora
