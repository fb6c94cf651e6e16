// A machine on which the library cannot work: run as
//   qlora_cuda_environment_test STATUS "part of the message"
// in an environment without a driver, with an old one, without a GPU, or built for other GPUs. The
// library loads, every entry answers with that status and message, and nothing ends the process.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "qlora.h"

namespace {

int failures = 0;

void expect(const char* call, int status, const char* message, int wanted, const char* part) {
  const bool good = status == wanted && std::strstr(message, part) != nullptr;
  if (!good) ++failures;
  std::printf("%s %s: status %d, %s\n", good ? "passed" : "FAILED", call, status, message);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::printf("expected a status and a part of the message\n");
    return 1;
  }
  const int wanted = std::atoi(argv[1]);
  char text[8192] = "";
  int64_t length = 0;
  expect("qlora_library_describe", qlora_library_describe(text, sizeof text, &length), text, wanted,
         argv[2]);

  qlora_model_config config;
  qlora_model_config_default(&config);
  qlora_model* model = nullptr;
  text[0] = '\0';
  expect("qlora_model_create", qlora_model_create(&config, &model, text, sizeof text), text, wanted,
         argv[2]);
  qlora_model_destroy(model);

  qlora_memory_report report;
  std::memset(&report, 0, sizeof report);
  report.struct_size = sizeof report;
  text[0] = '\0';
  expect("qlora_plan_training",
         qlora_plan_training(&config, nullptr, nullptr, &report, text, sizeof text), text, wanted,
         argv[2]);

  const float values[64] = {1};
  uint8_t packed[32];
  float absmax[1];
  expect("qlora_nf4_quantize", qlora_nf4_quantize(values, 64, packed, absmax), argv[2], wanted,
         argv[2]);
  return failures > 0 ? 1 : 0;
}
