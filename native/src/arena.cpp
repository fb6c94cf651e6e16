#include "arena.h"

#include <algorithm>
#include <cstdio>

#include "error.h"

namespace qlora {

namespace {

constexpr int64_t kAlignment = 256;

}  // namespace

int64_t MemoryTable::total() const {
  int64_t sum = 0;
  for (const int64_t b : bytes) sum += b;
  return sum - (*this)[Memory::host];
}

MemoryTable& MemoryTable::operator+=(const MemoryTable& other) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] += other.bytes[i];
  return *this;
}

MemoryTable& MemoryTable::operator-=(const MemoryTable& other) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] -= other.bytes[i];
  return *this;
}

std::string format_bytes(int64_t bytes) {
  char text[32];
  const double value = static_cast<double>(bytes);
  if (value >= 1e9) {
    std::snprintf(text, sizeof text, "%.2f GB", value / 1e9);
  } else if (value >= 1e6) {
    std::snprintf(text, sizeof text, "%.1f MB", value / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.1f kB", value / 1e3);
  }
  return text;
}

int64_t Budget::available(const DeviceMemory& memory) const {
  if (limit_ == 0) return memory.free_bytes;
  return std::min(limit_ - used_.total() - memory.overhead_bytes, memory.free_bytes);
}

int64_t Budget::capacity(const DeviceMemory& memory) const {
  const int64_t reachable = used_.total() + memory.overhead_bytes + memory.free_bytes;
  return limit_ == 0 ? reachable : std::min(limit_, reachable);
}

void Budget::reserve(const MemoryTable& table, const char* what, const Device& device) {
  const int64_t wanted = table.total();
  const DeviceMemory memory = device.memory();
  const int64_t left = available(memory);
  if (wanted > left) {
    throw Error(QLORA_ERROR_OUT_OF_MEMORY,
                std::string("not enough memory for ") + what + ": " + format_bytes(wanted) +
                    " wanted, " + format_bytes(std::max<int64_t>(left, 0)) + " left (" +
                    format_bytes(used_.total()) + " in use by this model, " +
                    format_bytes(memory.overhead_bytes) + " by the device's libraries" +
                    (limit_ > 0 ? ", memory_budget " + format_bytes(limit_) : std::string()) +
                    "); choose smaller sizes or a larger memory_budget");
  }
  used_ += table;
}

void Arena::add_entry(const Entry& entry, Memory kind, int64_t bytes) {
  entries_.push_back(entry);
  next_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (next_ <= end_) return;
  table_[place_ == Place::host ? Memory::host : kind] += next_ - end_;
  end_ = next_;
}

void Arena::allocate(Device& device, Budget& budget, const char* what) {
  release();
  if (end_ == 0) return;
  budget.reserve(table_, what, device);
  try {
    const size_t bytes = static_cast<size_t>(end_);
    block_ = place_ == Place::host ? device.allocate_host(bytes) : device.allocate(bytes);
  } catch (...) {
    budget.release(table_);
    throw;
  }
  device_ = &device;
  budget_ = &budget;
  for (const Entry& entry : entries_) {
    entry.assign(entry.slot, static_cast<char*>(block_) + entry.offset);
  }
}

void Arena::release() noexcept {
  if (block_ == nullptr) return;
  if (place_ == Place::host) {
    device_->release_host(block_);
  } else {
    device_->release(block_);
  }
  budget_->release(table_);
  block_ = nullptr;
}

}  // namespace qlora
