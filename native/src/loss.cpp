#include "loss.h"

#include <algorithm>

namespace qlora {

namespace {

// A chunk of targets: rows [begin, begin + count).
struct Chunk {
  int64_t begin, count;
};

// gathered = last residual at the target rows; normed = its norm; logits = normed · headᵀ.
void chunk_logits(Pass& pass, const Chunk& chunk) {
  const Architecture& arch = pass.model.arch();
  const Weights& weights = pass.model.weights();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const int32_t* rows = act.batch.target_rows + chunk.begin;
  ops::gather_rows(act.gathered, act.mid(arch.L - 1), rows, chunk.count, arch.H, d);
  ops::gather_rows(act.gathered_delta, act.delta, rows, chunk.count, arch.H, d);
  ops::rmsnorm_forward(act.normed, arch.H, act.rstd_final, act.gathered, act.gathered,
                       act.gathered_delta, weights.final_norm(), chunk.count, arch.H, arch.eps(),
                       d);
  const ops::Weight head = weights.head();
  ops::gemm_f32(act.logits, arch.V, act.normed, arch.H, false, head.plain, head.ld, true,
                chunk.count, arch.V, arch.H, 1.0f, 0.0f, d);
}

void chunk_loss(Pass& pass, const Chunk& chunk, act_t* dlogits) {
  Activations& act = pass.activations;
  ops::cross_entropy(act.nll + chunk.begin, dlogits, act.logits, act.batch.target_ids + chunk.begin,
                     act.batch.target_weights + chunk.begin, chunk.count, pass.model.arch().V,
                     pass.model.device());
}

void chunk_backward(Pass& pass, const Chunk& chunk) {
  const Architecture& arch = pass.model.arch();
  const Weights& weights = pass.model.weights();
  Activations& act = pass.activations;
  Device& d = pass.model.device();
  const ops::Weight head = weights.head();
  ops::gemm(act.dnormed, arch.H, act.dlogits, arch.V, false, head.plain, head.ld, false,
            chunk.count, arch.H, arch.V, 1.0f, 0.0f, d);
  d.fill_zero(act.dgathered, static_cast<size_t>(chunk.count * arch.H) * sizeof(act_t));
  ops::rmsnorm_backward(act.dgathered, act.dnormed, arch.H, act.gathered, act.rstd_final,
                        weights.final_norm(), chunk.count, arch.H, d);
  ops::scatter_add_rows(act.last_dresidual, act.dgathered, act.batch.target_rows + chunk.begin,
                        chunk.count, arch.H, d);
}

template <class Work>
void for_each_chunk(const Pass& pass, Work&& work) {
  for (int64_t begin = 0; begin < pass.batch.n; begin += pass.activations.chunk) {
    pass.model.check_cancelled();
    work(Chunk{begin, std::min(pass.activations.chunk, pass.batch.n - begin)});
  }
}

}  // namespace

void loss_forward(Pass& pass) {
  for_each_chunk(pass, [&](const Chunk& chunk) {
    chunk_logits(pass, chunk);
    chunk_loss(pass, chunk, nullptr);
  });
}

void loss_forward_backward(Pass& pass) {
  Activations& act = pass.activations;
  const int64_t count = pass.batch.num_last_rows() * pass.model.arch().H;
  pass.model.device().fill_zero(act.last_dresidual, static_cast<size_t>(count) * sizeof(act_t));
  for_each_chunk(pass, [&](const Chunk& chunk) {
    chunk_logits(pass, chunk);
    chunk_loss(pass, chunk, act.dlogits);
    chunk_backward(pass, chunk);
  });
}

void read_logits(Pass& pass, float* logits_host) {
  const int64_t V = pass.model.arch().V;
  for_each_chunk(pass, [&](const Chunk& chunk) {
    chunk_logits(pass, chunk);
    pass.model.device().copy_to_host(logits_host + chunk.begin * V, pass.activations.logits,
                                     static_cast<size_t>(chunk.count * V) * sizeof(float));
  });
}

}  // namespace qlora
