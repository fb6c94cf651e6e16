// A persistent pool: the calling thread works too, idle workers spin briefly and then park.
//
// run(tasks, body) calls body(task, worker) once for every task in [0, tasks), worker in
// [0, size()). Which worker takes which task is left to chance, so a body must write only what
// belongs to its task: the result is then the same for any number of threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace qlora {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // ≥ 1, the caller included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // The first exception a body throws ends the run and is thrown again here. One run at a time.
  template <class Body>
  void run(int64_t tasks, const Body& body) {
    if (tasks <= 1 || workers_.empty()) {
      for (int64_t task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    run_erased(tasks, &call<Body>, &body);
  }

 private:
  using Call = void (*)(const void* body, int64_t task, int worker);

  template <class Body>
  static void call(const void* body, int64_t task, int worker) {
    (*static_cast<const Body*>(body))(task, worker);
  }

  void run_erased(int64_t tasks, Call call, const void* body);
  void take_tasks(int worker);
  void work(int worker);
  bool has_news(uint32_t seen_epoch) const;
  void stop();

  // High half: epoch, odd while a job is open. Low half: workers inside the job. A job's fields
  // change only while the epoch is even and nobody is inside.
  std::atomic<uint64_t> state_{0};
  std::atomic<int64_t> next_{0};
  int64_t tasks_ = 0;
  Call call_ = nullptr;
  const void* body_ = nullptr;
  std::exception_ptr failure_;  // guarded by mutex_ while a job is open

  std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace qlora
