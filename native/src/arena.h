// Device memory by lifetime. An arena is a table of tensors that are allocated and freed together;
// the same code that fills the table for a real run fills it for a plan, so that a plan is exact.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ops.h"

namespace qlora {

// The kinds qlora_memory_report tells apart.
enum class Memory {
  embeddings,
  base,
  constants,
  lora,
  optimizer,
  activations,
  workspace,
  kv_cache,
  host  // pinned host memory the device reads: no device memory
};
constexpr size_t kMemoryKinds = 9;

// Bytes of each kind.
struct MemoryTable {
  std::array<int64_t, kMemoryKinds> bytes{};

  int64_t total() const;  // of the device's memory
  int64_t& operator[](Memory kind) { return bytes[static_cast<size_t>(kind)]; }
  int64_t operator[](Memory kind) const { return bytes[static_cast<size_t>(kind)]; }
  MemoryTable& operator+=(const MemoryTable& other);
  MemoryTable& operator-=(const MemoryTable& other);
};

// "1.50 GB", "12.0 MB" (decimal).
std::string format_bytes(int64_t bytes);

// What one model and its handles hold, and how much they may hold. The device's own overhead counts
// against the limit: a budget of 12 GB is what a card of 12 GB has.
class Budget {
 public:
  // limit: bytes; 0 = what the device has free.
  explicit Budget(int64_t limit) : limit_(limit) {}

  // Bytes that may still be allocated.
  int64_t available(const DeviceMemory& memory) const;
  // Bytes the model and its handles may take in all, the device's overhead included.
  int64_t capacity(const DeviceMemory& memory) const;
  // Throws Error(out of memory) naming `what` when the table does not fit.
  void reserve(const MemoryTable& table, const char* what, const Device& device);
  void release(const MemoryTable& table) { used_ -= table; }
  const MemoryTable& used() const { return used_; }
  int64_t limit() const { return limit_; }

 private:
  int64_t limit_;
  MemoryTable used_;
};

class Arena {
 public:
  enum class Place { device, host };
  explicit Arena(Place place = Place::device) : place_(place) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { release(); }

  // Registers a tensor of count elements; `pointer` is set by allocate() and must outlive it.
  template <class T>
  void add(T*& pointer, Memory kind, int64_t count) {
    pointer = nullptr;
    add_entry(
        {&pointer,
         [](void* slot, void* value) { *static_cast<T**>(slot) = static_cast<T*>(value); }, next_},
        kind, count * static_cast<int64_t>(sizeof(T)));
  }
  // Sets of tensors that never live at the same time share their memory: what is added between
  // begin_sharing and share_again, between that and the next share_again or end_sharing, and so on.
  void begin_sharing() { shared_ = next_ = end_; }
  void share_again() { next_ = shared_; }
  void end_sharing() { next_ = end_; }
  // One block for all tensors; throws Error(out of memory). what: named in the message.
  void allocate(Device& device, Budget& budget, const char* what);
  void release() noexcept;

  const MemoryTable& table() const { return table_; }
  bool allocated() const { return block_ != nullptr; }

 private:
  struct Entry {
    void* slot;
    void (*assign)(void* slot, void* value);
    int64_t offset;
  };
  void add_entry(const Entry& entry, Memory kind, int64_t bytes);

  const Place place_;
  std::vector<Entry> entries_;
  MemoryTable table_;
  int64_t next_ = 0;    // where the next tensor begins
  int64_t end_ = 0;     // of all so far
  int64_t shared_ = 0;  // where the sets that share begin
  void* block_ = nullptr;
  Device* device_ = nullptr;
  Budget* budget_ = nullptr;
};

}  // namespace qlora
