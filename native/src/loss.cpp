#include "loss.h"

#include <algorithm>
#include <exception>
#include <vector>

namespace qlora {

namespace {

// The head's rows, a chunk of the vocabulary at a time. In host memory they come over the bus into
// two buffers in turn: one chunk is copied while the one before it is worked on.
class HeadChunks {
 public:
  HeadChunks(Pass& pass, Device& device)
      : head_(pass.model.weights().head()),
        on_host_(pass.model.arch().head_on_host()),
        columns_(pass.activations.capacity().vocabulary),
        buffers_(pass.activations.head_rows),
        device_(device) {
    if (on_host_) fetch(0);
  }
  HeadChunks(const HeadChunks&) = delete;
  HeadChunks& operator=(const HeadChunks&) = delete;
  // A cancelled loss leaves a copy under way: what comes next must not meet it in the buffers.
  ~HeadChunks() {
    try {
      if (on_host_) device_.await_copies();
    } catch (const std::exception&) {
      // The device is lost; the next synchronize says so.
    }
  }

  int64_t columns() const { return columns_; }
  int64_t count(int64_t first) const { return std::min(columns_, head_.out - first); }
  // Rows [first, first + count(first)); chunks are asked for in order.
  const act_t* rows(int64_t first) {
    if (!on_host_) return head_.plain + first * head_.ld;
    device_.await_copies();
    if (first + columns_ < head_.out) fetch(first + columns_);
    return buffer(first);
  }

 private:
  act_t* buffer(int64_t first) const { return buffers_[first / columns_ % 2]; }
  void fetch(int64_t first) {
    device_.copy_ahead(buffer(first), head_.plain + first * head_.ld,
                       static_cast<size_t>(count(first) * head_.ld) * sizeof(act_t));
  }

  const ops::Weight head_;
  const bool on_host_;
  const int64_t columns_;
  act_t* const* const buffers_;
  Device& device_;
};

// gathered = last residual at the target rows; normed = its norm.
void gather_targets(Pass& pass) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const int64_t n = pass.batch.n;
  ops::gather_rows(act.gathered, act.mid(arch.L - 1), arch.H, act.batch.target_rows, n, arch.H, d);
  ops::gather_rows(act.gathered_delta, act.delta, arch.H, act.batch.target_rows, n, arch.H, d);
  ops::rmsnorm_forward(act.normed, arch.H, act.rstd_final, act.gathered, act.gathered,
                       act.gathered_delta, pass.model.weights().final_norm(), n, arch.H, arch.eps(),
                       d);
}

// work(first column, columns, the head's rows) with logits = normed · headᵀ of those columns.
template <class Work>
void for_each_chunk(Pass& pass, Work&& work) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  gather_targets(pass);
  HeadChunks head(pass, d);
  for (int64_t first = 0; first < arch.V; first += head.columns()) {
    pass.model.check_cancelled();
    const int64_t count = head.count(first);
    const act_t* rows = head.rows(first);
    ops::gemm_f32(act.logits, head.columns(), act.normed, arch.H, false, rows, arch.H, true,
                  pass.batch.n, count, arch.H, 1.0f, 0.0f, d);
    work(first, count, rows);
  }
}

// nll, and with a gradient that of normed in its place.
void cross_entropy(Pass& pass, bool gradient) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const int64_t n = pass.batch.n;
  const int64_t ld = act.capacity().vocabulary;
  float* const expected = gradient ? act.expected : nullptr;
  act_t* const terms = gradient ? act.terms : nullptr;
  for_each_chunk(pass, [&](int64_t first, int64_t count, const act_t* rows) {
    ops::cross_entropy_chunk(act.softmax, terms, expected, act.logits, ld, act.batch.target_ids,
                             first, n, count, arch.H, d);
    if (!gradient) return;
    ops::gemm_f32(expected, arch.H, terms, ld, false, rows, arch.H, false, n, arch.H, count, 1.0f,
                  first > 0 ? 1.0f : 0.0f, d);
  });
  ops::cross_entropy_finish(act.nll, gradient ? act.normed : nullptr, act.softmax, expected,
                            pass.model.weights().head(), act.batch.target_ids,
                            act.batch.target_weights, n, arch.H, d);
}

}  // namespace

void loss_forward(Pass& pass) { cross_entropy(pass, false); }

void loss_forward_backward(Pass& pass) {
  const Architecture& arch = pass.model.arch();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const int64_t n = pass.batch.n;
  cross_entropy(pass, true);
  act_t* const dgathered = act.gathered_delta;
  d.fill_zero(dgathered, static_cast<size_t>(n * arch.H) * sizeof(act_t));
  ops::rmsnorm_backward(dgathered, act.normed, arch.H, act.gathered, act.rstd_final,
                        pass.model.weights().final_norm(), n, arch.H, d);
  d.fill_zero(act.last_dresidual,
              static_cast<size_t>(pass.batch.num_last_rows() * arch.H) * sizeof(act_t));
  ops::scatter_add_rows(act.last_dresidual, dgathered, arch.H, act.batch.target_rows, n, arch.H,
                        d);
}

void read_logits(Pass& pass, float* logits_host) {
  const int64_t V = pass.model.arch().V;
  const int64_t n = pass.batch.n;
  const int64_t ld = pass.activations.capacity().vocabulary;
  std::vector<float> chunk(static_cast<size_t>(n * ld));
  for_each_chunk(pass, [&](int64_t first, int64_t count, const act_t*) {
    pass.model.device().copy_to_host(chunk.data(), pass.activations.logits,
                                     chunk.size() * sizeof(float));
    for (int64_t row = 0; row < n; ++row) {
      std::copy_n(chunk.data() + row * ld, count, logits_host + row * V + first);
    }
  });
}

}  // namespace qlora
