// thread_pool.h
#include "thread_pool.h"

#if defined(_M_X64) || defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qlora {
namespace {

constexpr uint64_t kEpoch = uint64_t{1} << 32;
constexpr int kSpins = 2000;      // about 30 µs, the gap between two ops of a step
constexpr int kWaitSpins = 4000;  // then the core is offered to others

inline void relax() {
#if defined(_M_X64) || defined(__x86_64__)
  _mm_pause();
#endif
}

inline uint32_t epoch_of(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
inline uint32_t active_in(uint64_t state) { return static_cast<uint32_t>(state); }

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<size_t>(threads > 1 ? threads - 1 : 0));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {  // the system refused a thread: those already running must end first
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_.store(true);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

bool ThreadPool::has_news(uint32_t seen_epoch) const {
  const uint32_t epoch = epoch_of(state_.load());
  return stopping_.load() || ((epoch & 1) != 0 && epoch != seen_epoch);
}

void ThreadPool::take_tasks(int worker) {
  try {
    for (;;) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks_) return;
      call_(body_, task, worker);
    }
  } catch (...) {
    next_.store(tasks_, std::memory_order_relaxed);
    std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::run_erased(int64_t tasks, Call call, const void* body) {
  tasks_ = tasks;
  call_ = call;
  body_ = body;
  next_.store(0, std::memory_order_relaxed);
  state_.fetch_add(kEpoch);  // open
  if (sleepers_.load() > 0) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
    }
    wake_.notify_all();
  }
  take_tasks(0);
  state_.fetch_add(kEpoch);  // closed: nobody joins any more
  for (int spins = 0; active_in(state_.load(std::memory_order_acquire)) != 0; ++spins) {
    if (spins < kWaitSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
  if (failure_) {
    const std::exception_ptr failure = failure_;
    failure_ = nullptr;
    std::rethrow_exception(failure);
  }
}

void ThreadPool::work(int worker) {
  uint32_t seen = 0;
  for (;;) {
    for (int spins = 0; spins < kSpins && !has_news(seen); ++spins) relax();
    if (!has_news(seen)) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, [&] { return has_news(seen); });
      sleepers_.fetch_sub(1);
    }
    if (stopping_.load()) return;
    uint64_t state = state_.load();
    while ((epoch_of(state) & 1) != 0 && epoch_of(state) != seen) {
      if (!state_.compare_exchange_weak(state, state + 1)) continue;
      seen = epoch_of(state);
      take_tasks(worker);
      state_.fetch_sub(1, std::memory_order_release);
      break;
    }
  }
}

}  // namespace qlora
