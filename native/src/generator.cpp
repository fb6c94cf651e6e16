#include "generator.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "group_decode.h"
#include "linear_group.h"

namespace qlora {

namespace {

// Rows prefilled at a time.
constexpr int64_t kPrefillRows = 512;

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
  row_arena_ = std::make_unique<Arena>();
  Arena& arena = *row_arena_;
  constexpr Memory kind = Memory::activations;
  arena.add(residual_, kind, row_capacity_ * arch.H);
  arena.add(delta_, kind, row_capacity_ * arch.H);
  arena.add(in_, kind, row_capacity_ * groups[kGroupQkv].ld);
  arena.add(qkv_, kind, row_capacity_ * arch.qkv_columns());
  arena.add(att_, kind, row_capacity_ * groups[kGroupO].ld);
  arena.add(mlp_in_, kind, row_capacity_ * groups[kGroupGateUp].ld);
  arena.add(gate_up_, kind, row_capacity_ * 2 * arch.F);
  arena.add(mlp_, kind, row_capacity_ * groups[kGroupDown].ld);
  if (arch.config.qk_norm != 0) arena.add(head_rstd_, kind, row_capacity_ * arch.Q);
  for (int32_t** array : {&ids_, &positions_, &slots_, &slot_positions_, &lengths_}) {
    arena.add(*array, kind, row_capacity_);
  }
  arena.add(last_, kind, sequences);
  arena.add(gathered_, kind, sequences * arch.H);
  arena.add(gathered_delta_, kind, sequences * arch.H);
  arena.add(normed_, kind, sequences * arch.H);
  arena.add(logits_, Memory::workspace, sequences * arch.V);
  arena.add(history_, kind, sequences * (config_.max_prefix_tokens + config_.max_sequence_tokens));
  arena.add(settings_, kind, sequences);
  arena.add(tokens_, kind, sequences);
  arena.add(logprobs_, kind, sequences);
  arena.allocate(model_->device(), model_->budget(), "generation buffers");
}

void Generator::follow_model() {
  if (version_ != model_->version()) {
    bool stale = !prefix_.empty();
    for (const auto& entry : sequences_) stale = stale || entry.second.cached > 0;
    if (stale) {
      throw Error(QLORA_ERROR_STATE,
                  "the adapter has changed or was toggled since the keys and values were computed; "
                  "remove the live sequences, set the prefix and add the prompts again");
    }
    size_rows();
    version_ = model_->version();
  }
  model_->prepare();
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
  follow_model();
  for (int64_t begin = 0; begin < count; begin += row_capacity_) {
    Rows rows;
    const int64_t end = std::min(count, begin + row_capacity_);
    for (int64_t i = begin; i < end; ++i) add_row(rows, token_ids[i], -1, i);
    layers(rows, false);
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

void Generator::add_row(Rows& rows, int32_t token, int32_t slot, int64_t slot_position) const {
  const int64_t before = slot < 0 ? 0 : static_cast<int64_t>(prefix_.size());
  rows.token_ids.push_back(token);
  rows.positions.push_back(static_cast<int32_t>(before + slot_position));
  rows.slots.push_back(slot);
  rows.slot_positions.push_back(static_cast<int32_t>(slot_position));
  rows.lengths.push_back(static_cast<int32_t>(slot_position + 1));
}

void Generator::upload(const Rows& rows) {
  Device& d = model_->device();
  upload_vector(ids_, rows.token_ids, d);
  upload_vector(positions_, rows.positions, d);
  upload_vector(slots_, rows.slots, d);
  upload_vector(slot_positions_, rows.slot_positions, d);
  upload_vector(lengths_, rows.lengths, d);
}

// q, k, v of in_ → rope → caches → attention over them.
void Generator::attention(const Rows& rows, int64_t layer) {
  const Architecture& arch = model_->arch();
  const LayerWeights& w = model_->weights().layer(layer);
  Device& d = model_->device();
  const int64_t n = rows.size();
  const int64_t ld = arch.qkv_columns();
  if (w.qkv_bias != nullptr) ops::bias_forward(qkv_, ld, w.qkv_bias, n, ld, d);
  if (w.q_norm != nullptr) {
    ops::head_norm_forward(qkv_, ld, head_rstd_, w.q_norm, n, 0, arch.Q, arch.D, arch.eps(), d);
    ops::head_norm_forward(qkv_, ld, head_rstd_, w.k_norm, n, arch.Q, arch.G, arch.D, arch.eps(),
                           d);
  }
  ops::rope(qkv_, ld, positions_, model_->weights().rope_cos(), model_->weights().rope_sin(), n,
            arch.Q, arch.G, arch.D, false, d);
  const ops::KvCache& cache = caches_[static_cast<size_t>(layer)];
  ops::kv_append(cache, qkv_, ld, slots_, slot_positions_, n, arch.Q, d);
  ops::attention_decode(att_, model_->groups()[kGroupO].ld, qkv_, ld, cache, slots_, lengths_,
                        static_cast<int64_t>(prefix_.size()), n, arch.Q, d);
}

void Generator::layers(const Rows& rows, bool decode) {
  const Architecture& arch = model_->arch();
  const auto& groups = model_->groups();
  Device& d = model_->device();
  const int64_t n = rows.size();
  const auto product = [&](act_t* y, int64_t ldy, act_t* x, int64_t layer, int group) {
    if (decode) {
      group_decode(y, ldy, x, layer, group, n, *model_);
      return;
    }
    GroupRows group_rows;
    group_rows.layer = layer;
    group_rows.group = group;
    group_rows.T = n;
    group_forward(y, ldy, x, group_rows, *model_);
  };
  upload(rows);
  ops::embedding_forward(residual_, ids_, model_->weights().embeddings(), n, arch.H, d);
  for (int64_t layer = 0; layer < arch.L; ++layer) {
    model_->check_cancelled();
    const LayerWeights& w = model_->weights().layer(layer);
    const bool first = layer == 0;
    ops::rmsnorm_forward(in_, groups[kGroupQkv].ld, nullptr, first ? nullptr : residual_, residual_,
                         first ? nullptr : delta_, w.input_norm, n, arch.H, arch.eps(), d);
    product(qkv_, arch.qkv_columns(), in_, layer, kGroupQkv);
    attention(rows, layer);
    product(delta_, arch.H, att_, layer, kGroupO);
    ops::rmsnorm_forward(mlp_in_, groups[kGroupGateUp].ld, nullptr, residual_, residual_, delta_,
                         w.post_norm, n, arch.H, arch.eps(), d);
    product(gate_up_, 2 * arch.F, mlp_in_, layer, kGroupGateUp);
    ops::swiglu_forward(mlp_, groups[kGroupDown].ld, gate_up_, n, arch.F, d);
    product(delta_, arch.H, mlp_, layer, kGroupDown);
  }
}

void Generator::head(const Rows& rows, int64_t first_logit) {
  const int64_t n = static_cast<int64_t>(rows.last.size());
  if (n == 0) return;
  const Architecture& arch = model_->arch();
  Device& d = model_->device();
  upload_vector(last_, rows.last, d);
  ops::gather_rows(gathered_, residual_, last_, n, arch.H, d);
  ops::gather_rows(gathered_delta_, delta_, last_, n, arch.H, d);
  ops::rmsnorm_forward(normed_, arch.H, nullptr, gathered_, gathered_, gathered_delta_,
                       model_->weights().final_norm(), n, arch.H, arch.eps(), d);
  ops::linear_decode_f32(logits_ + first_logit * arch.V, arch.V, normed_, arch.H, n,
                         model_->weights().head(), d);
}

void Generator::prefill(const std::vector<Sequence*>& fresh) {
  int64_t logits = 0;
  Rows rows;
  const auto flush = [&] {
    if (rows.size() == 0) return;
    layers(rows, false);
    head(rows, logits);
    logits += static_cast<int64_t>(rows.last.size());
    rows = Rows();
  };
  for (const Sequence* sequence : fresh) {
    for (int64_t i = 0; i < sequence->prompt; ++i) {
      add_row(rows, sequence->tokens[static_cast<size_t>(i)], sequence->slot, i);
      if (i + 1 == sequence->prompt) rows.last.push_back(static_cast<int32_t>(rows.size() - 1));
      if (rows.size() == row_capacity_) flush();
    }
  }
  flush();
}

void Generator::sample(const std::vector<Sequence*>& order, std::vector<int32_t>& tokens,
                       std::vector<float>& logprobs) {
  Device& d = model_->device();
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
    if (s.repetition_penalty != 1) {
      history.insert(history.end(), prefix_.begin(), prefix_.end());
      history.insert(history.end(), sequence->tokens.begin(), sequence->tokens.end());
    }
    row.history_end = static_cast<int32_t>(history.size());
    settings.push_back(row);
  }
  upload_vector(settings_, settings, d);
  upload_vector(history_, history, d);
  const size_t n = order.size();
  ops::sample(tokens_, logprobs_, logits_, settings_, history_, static_cast<int64_t>(n),
              model_->arch().V, d);
  tokens.resize(n);
  logprobs.resize(n);
  d.copy_to_host(tokens.data(), tokens_, n * sizeof(int32_t));
  d.copy_to_host(logprobs.data(), logprobs_, n * sizeof(float));
  for (size_t i = 0; i < n; ++i) {
    if (std::isfinite(logprobs[i])) continue;
    throw Error(QLORA_ERROR_NOT_FINITE,
                "the logits of sequence " + std::to_string(order[i]->id) +
                    " are not finite; look at the adapter's and the base's weights");
  }
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

void Generator::step(qlora_generated_token* out, int64_t& count) {
  std::vector<Sequence*> fresh;
  std::vector<Sequence*> running;
  for (auto& entry : sequences_) {
    (entry.second.cached == 0 ? fresh : running).push_back(&entry.second);
  }
  prefill(fresh);
  if (!running.empty()) {
    Rows rows;
    for (const Sequence* sequence : running) {
      add_row(rows, sequence->tokens.back(), sequence->slot,
              static_cast<int64_t>(sequence->tokens.size()) - 1);
      rows.last.push_back(static_cast<int32_t>(rows.size() - 1));
    }
    layers(rows, true);
    head(rows, static_cast<int64_t>(fresh.size()));
  }
  std::vector<Sequence*> order = fresh;
  order.insert(order.end(), running.begin(), running.end());
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  sample(order, tokens, logprobs);
  for (size_t i = 0; i < order.size(); ++i) {
    Sequence& sequence = *order[i];
    sequence.cached = static_cast<int64_t>(sequence.tokens.size());
    sequence.tokens.push_back(tokens[i]);
    const int32_t finish = finish_of(sequence);
    out[count++] = {sequence.id, tokens[i], logprobs[i], finish};
    if (finish != QLORA_FINISH_NONE) remove(sequence.id);
  }
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
    for (int64_t i = 0; i < max_steps && live() > 0; ++i) {
      if (result.count + live() > capacity) break;
      step(tokens, result.count);
    }
  } catch (const Error& error) {
    if (error.status() != QLORA_ERROR_CANCELLED) throw;
    result.cancelled = true;
  }
  return result;
}

}  // namespace qlora
