// The CPU's Device: plain memory, a thread pool, scratch memory for the ops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "ops.h"
#include "thread_pool.h"

namespace qlora {
namespace cpu {

// 64-byte aligned memory that grows and never shrinks.
class Scratch {
 public:
  Scratch() = default;
  ~Scratch();
  Scratch(Scratch&& other) noexcept;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void reserve(size_t bytes);  // throws Error(out_of_memory); contents are lost when it grows
  float* floats() const { return static_cast<float*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads);

  void* allocate(size_t bytes) override;
  void release(void* pointer) noexcept override;
  // The device is the host.
  void* allocate_host(size_t bytes) override { return allocate(bytes); }
  void release_host(void* pointer) noexcept override { release(pointer); }
  void copy_ahead(void* dst, const void* src, size_t bytes) override { copy(dst, src, bytes); }
  void await_copies() override {}
  void copy_to_device(void* dst, const void* src_host, size_t bytes) override;
  void copy_to_host(void* dst_host, const void* src, size_t bytes) override;
  void copy(void* dst, const void* src, size_t bytes) override;
  void fill_zero(void* dst, size_t bytes) override;
  void synchronize() override {}
  void make_current() override {}
  DeviceMemory memory() const override;

  ThreadPool& pool() { return pool_; }

  // body(task, worker) for every task.
  template <class Body>
  void parallel(int64_t tasks, const Body& body) {
    pool_.run(tasks, body);
  }

  // body(begin, end) or body(begin, end, worker) over [0, count) in contiguous pieces of at least
  // min_items: for loops whose items do not depend on one another.
  template <class Body>
  void parallel_range(int64_t count, int64_t min_items, const Body& body) {
    if (min_items < 1) min_items = 1;
    int64_t pieces = (count + min_items - 1) / min_items;
    const int64_t most = int64_t{4} * pool_.size();
    if (pool_.size() == 1 || pieces < 1) pieces = count > 0 ? 1 : 0;
    if (pieces > most) pieces = most;
    if (pieces == 0) return;
    pool_.run(pieces, [&](int64_t piece, int worker) {
      const int64_t begin = count * piece / pieces, end = count * (piece + 1) / pieces;
      if constexpr (std::is_invocable_v<Body, int64_t, int64_t, int>) {
        body(begin, end, worker);
      } else {
        static_cast<void>(worker);
        body(begin, end);
      }
    });
  }

  // Scratch of each worker, valid until the next call: reserve outside parallel, read inside.
  void reserve_worker_scratch(size_t bytes);
  float* worker_scratch(int worker) const { return worker_scratch_[size_t(worker)].floats(); }
  // Scratch shared by the workers of one op.
  float* shared_scratch(size_t bytes) {
    shared_scratch_.reserve(bytes);
    return shared_scratch_.floats();
  }
  // Scratch of an op that is made of other ops: those use the two above.
  float* op_scratch(size_t bytes) {
    op_scratch_.reserve(bytes);
    return op_scratch_.floats();
  }

 private:
  ThreadPool pool_;
  std::vector<Scratch> worker_scratch_;
  Scratch shared_scratch_;
  Scratch op_scratch_;
};

inline CpuDevice& cpu_device(Device& d) { return static_cast<CpuDevice&>(d); }

// Items a piece should have so that it is worth handing to a thread: about 32 Ki element visits.
inline int64_t grain(int64_t elements_per_item) {
  const int64_t items = 32768 / (elements_per_item > 0 ? elements_per_item : 1);
  return items > 0 ? items : 1;
}

}  // namespace cpu
}  // namespace qlora
