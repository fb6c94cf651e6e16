// The device: memory, copies, threads that fail, devices side by side.
#include <atomic>
#include <stdexcept>
#include <thread>

#include "error.h"
#include "op_test.h"
#include "thread_pool.h"

namespace {

OP_TEST(memory_is_aligned_copied_and_cleared) {
  qlora::Device& device = op_test::device(2);
  const size_t bytes = (size_t{3} << 20) + 5;
  std::vector<unsigned char> source(bytes), back(bytes);
  for (size_t i = 0; i < bytes; ++i) source[i] = static_cast<unsigned char>(i * 31);
  void* const a = device.allocate(bytes);
  void* const b = device.allocate(bytes);
  EXPECT(reinterpret_cast<uintptr_t>(a) % 256 == 0, "aligned");
  device.copy_to_device(a, source.data(), bytes);
  device.copy(b, a, bytes);
  device.copy_to_host(back.data(), b, bytes);
  EXPECT(source == back, "round trip");
  device.fill_zero(b, bytes);
  device.copy_to_host(back.data(), b, bytes);
  EXPECT(back == std::vector<unsigned char>(bytes, 0), "cleared");
  device.release(a);
  device.release(b);
  device.release(nullptr);
  const qlora::DeviceMemory memory = device.memory();
  EXPECT(memory.total_bytes > 0 && memory.free_bytes > 0 && memory.free_bytes <= memory.total_bytes,
         "memory is known");
}

OP_TEST(what_cannot_be_had_is_refused) {
  try {
    op_test::device(1).allocate(size_t{1} << 60);
    op_test::fail("an exabyte was allocated");
  } catch (const qlora::Error& error) {
    EXPECT(error.status() == QLORA_ERROR_OUT_OF_MEMORY, error.what());
  }
  qlora::DeviceOptions options;
  options.threads = -1;
  try {
    qlora::Device::create(options);
    op_test::fail("-1 threads were made");
  } catch (const qlora::Error& error) {
    EXPECT(error.status() == QLORA_ERROR_INVALID_ARGUMENT, error.what());
  }
}

OP_TEST(every_task_runs_once_and_a_failure_comes_back) {
  qlora::ThreadPool pool(4);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::atomic<int>> runs(97);
    pool.run(97, [&](int64_t task, int worker) {
      if (worker >= 0 && worker < 4) ++runs[size_t(task)];
    });
    for (const std::atomic<int>& count : runs) EXPECT(count == 1, "once");
  }
  bool caught = false;
  try {
    pool.run(50, [](int64_t task, int) {
      if (task == 7) throw std::runtime_error("seven");
    });
  } catch (const std::runtime_error& error) {
    caught = std::string(error.what()) == "seven";
  }
  EXPECT(caught, "the exception reaches the caller");
  std::atomic<int> after{0};
  pool.run(10, [&](int64_t, int) { ++after; });
  EXPECT(after == 10, "the pool works on");
}

OP_TEST(devices_work_side_by_side) {
  const int64_t n = 60;
  const op_test::Numbers a = op_test::normal(n * n, 1), b = op_test::normal(n * n, 2);
  const auto product = [&](qlora::Device& device) {
    op_test::Numbers c(size_t(n * n));
    qlora::ops::gemm(c.data(), n, a.data(), n, false, b.data(), n, true, n, n, n, 1.0f, 0.0f,
                     device);
    return c;
  };
  const op_test::Numbers want = product(op_test::device(1));
  std::vector<int> same(3, 0);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < same.size(); ++i) {
    threads.emplace_back([&, i] {
      qlora::DeviceOptions options;
      options.threads = 2;
      const auto device = qlora::Device::create(options);
      for (int round = 0; round < 50; ++round) {
        same[i] += op_test::same_bits(product(*device), want) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : same) EXPECT(count == 50, "same bits");
}

OP_TEST(description_is_json_of_what_is_here) {
  const std::string text = qlora::Device::describe();
  for (const char* key : {"\"backend\":\"cpu\"", "\"version\":\"", "\"device\":\"", "\"isa\":\"",
                          "\"threads\":", "\"memory_bytes\":", "\"memory_free_bytes\":"}) {
    EXPECT(text.find(key) != std::string::npos, key);
  }
  EXPECT(text.front() == '{' && text.back() == '}', text);
}

}  // namespace
