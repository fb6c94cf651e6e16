// The frozen base: every tensor of the checkpoint, converted or quantised as it arrives.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "architecture.h"
#include "arena.h"
#include "ops.h"
#include "rope_table.h"

namespace qlora {

// One linear [out, in], in the form the model's quantisation asks for; the others are null.
struct LinearStorage {
  act_t* plain = nullptr;
  uint8_t* packed = nullptr;
  float* absmax = nullptr;
  uint8_t* absmax_codes = nullptr;
  float* absmax2 = nullptr;
  float absmax_offset = 0;
};

struct LayerWeights {
  std::array<LinearStorage, kModules> linears;
  float* input_norm = nullptr;  // (H)
  float* post_norm = nullptr;   // (H)
  float* qkv_bias = nullptr;    // ((Q + 2G)·D), or null
  float* q_norm = nullptr;      // (D), or null
  float* k_norm = nullptr;      // (D), or null
};

class Weights {
 public:
  // Sizes only; nothing is allocated.
  explicit Weights(const Architecture& arch);

  MemoryTable table() const;
  void allocate(Device& device, Budget& budget);

  // Takes one tensor; see qlora_model_load_tensor.
  void load(const std::string& name, int dtype, const std::vector<int64_t>& shape,
            const void* data_host, int64_t bytes, Device& device);
  void load_random(uint64_t seed, double std, Device& device);
  // Throws Error(state) naming the tensors that have not arrived; frees the loading buffers.
  void finalize();
  // The tensor as the computation sees it.
  void read(const std::string& name, float* values_host, int64_t count, Device& device) const;
  // One part of a quantised linear as `load` takes it; see qlora_model_read_part.
  void read_part(const std::string& name, void* data_host, int64_t bytes, Device& device) const;

  ops::Weight linear(int64_t layer, int module) const;
  ops::Weight head() const;  // lm_head, or the embeddings when tied

  const act_t* embeddings() const { return embeddings_; }
  const float* final_norm() const { return final_norm_; }
  const LayerWeights& layer(int64_t i) const { return layers_[static_cast<size_t>(i)]; }
  const float* rope_cos() const { return rope_.cos(); }
  const float* rope_sin() const { return rope_.sin(); }
  // The angles of positions 0 … count − 1; those of the first few thousand are there from the
  // start.
  RopeTable& rope() { return rope_; }

 private:
  enum class Form { act, f32, linear };
  struct Tensor {
    std::string name;
    Form form = Form::f32;
    std::vector<int64_t> shape;
    act_t** act = nullptr;
    float** f32 = nullptr;
    int64_t f32_offset = 0;
    LinearStorage* linear = nullptr;
    unsigned arrived = 0;  // bits of Part
    int64_t count() const;
  };

  void register_tensors();
  void add_tensor(Tensor tensor);
  void size_linear(LinearStorage& storage, int64_t count);
  void load_whole(Tensor& tensor, int dtype, const void* data_host, Device& device);
  void load_part(Tensor& tensor, unsigned part, int dtype, const std::vector<int64_t>& shape,
                 const void* data_host, int64_t bytes, Device& device);
  void store_part(Tensor& tensor, unsigned part, const void* data_host, int64_t bytes,
                  Device& device);
  // values: chunk of the tensor from element `begin`, in fp32 on the device.
  void store_values(Tensor& tensor, int64_t begin, int64_t count, Device& device);
  void finish_linear(Tensor& tensor, Device& device);
  unsigned required_parts(const Tensor& tensor) const;

  const Architecture arch_;
  Arena arena_;
  Arena host_arena_{Arena::Place::host};
  act_t* embeddings_ = nullptr;  // [V, H]
  act_t* head_ = nullptr;        // [V, H], null when tied
  float* final_norm_ = nullptr;  // (H)
  RopeTable rope_;
  std::vector<LayerWeights> layers_;

  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, size_t> index_;

  // While loading only.
  std::unique_ptr<Arena> staging_;
  int64_t chunk_ = 0;                // elements converted at a time, a multiple of 64
  float* staging_raw_ = nullptr;     // (chunk)
  float* staging_values_ = nullptr;  // (chunk)
  float* staging_absmax_ = nullptr;  // (blocks of the largest linear)
};

}  // namespace qlora
