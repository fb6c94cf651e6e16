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
  return sum;
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

int64_t Budget::available(const Device& device) const {
  const int64_t free_bytes = device.memory().free_bytes;
  return limit_ > 0 ? std::min(limit_ - used_.total(), free_bytes) : free_bytes;
}

void Budget::reserve(const MemoryTable& table, const char* what, const Device& device) {
  const int64_t wanted = table.total();
  const int64_t left = available(device);
  if (wanted > left) {
    throw Error(QLORA_ERROR_OUT_OF_MEMORY,
                std::string("not enough memory for ") + what + ": " + format_bytes(wanted) +
                    " wanted, " + format_bytes(std::max<int64_t>(left, 0)) + " left (" +
                    format_bytes(used_.total()) + " in use by this model" +
                    (limit_ > 0 ? ", memory_budget " + format_bytes(limit_) : std::string()) +
                    "); choose smaller sizes or a larger memory_budget");
  }
  used_ += table;
}

void Arena::add_entry(const Entry& entry, Memory kind, int64_t bytes) {
  entries_.push_back(entry);
  table_[kind] += (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void Arena::allocate(Device& device, Budget& budget, const char* what) {
  release();
  const int64_t total = table_.total();
  if (total == 0) return;
  budget.reserve(table_, what, device);
  try {
    block_ = device.allocate(static_cast<size_t>(total));
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
  device_->release(block_);
  budget_->release(table_);
  block_ = nullptr;
}

}  // namespace qlora
