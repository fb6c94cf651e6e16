# The CPU build's sources and the instruction-set flags of its hot files; read by ../CMakeLists.txt.
set(QLORA_CPU_SOURCES
  cpu/absmax_dequantize.cpp
  cpu/absmax_quantize.cpp
  cpu/advance.cpp
  cpu/attention_backward.cpp
  cpu/attention_decode.cpp
  cpu/attention_forward.cpp
  cpu/attention_keys.cpp
  cpu/cross_entropy.cpp
  cpu/dequantize.cpp
  cpu/device.cpp
  cpu/dropout.cpp
  cpu/elementwise.cpp
  cpu/gemm.cpp
  cpu/head_norm.cpp
  cpu/isa.cpp
  cpu/kernels.cpp
  cpu/kernels_baseline.cpp
  cpu/linear_decode.cpp
  cpu/linear_group_decode.cpp
  cpu/load.cpp
  cpu/lora.cpp
  cpu/nf4_quantize.cpp
  cpu/optimizer.cpp
  cpu/platform.cpp
  cpu/random.cpp
  cpu/rmsnorm.cpp
  cpu/rope.cpp
  cpu/sample.cpp
  cpu/swiglu.cpp)


# a · b + c stays two roundings unless the code asks for one: the same bits from every compiler.
if(MSVC)
  set(QLORA_CPU_OPTIONS "")
  set(QLORA_AVX2_OPTIONS /arch:AVX2)
  set(QLORA_AVX512_OPTIONS /arch:AVX512)
else()
  set(QLORA_CPU_OPTIONS -ffp-contract=off)
  set(QLORA_AVX2_OPTIONS -mavx2 -mfma)
  set(QLORA_AVX512_OPTIONS -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma)
endif()
set_source_files_properties(${QLORA_CPU_SOURCES} PROPERTIES COMPILE_OPTIONS "${QLORA_CPU_OPTIONS}")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  list(APPEND QLORA_CPU_SOURCES cpu/kernels_avx2.cpp cpu/kernels_avx512.cpp)
  set_source_files_properties(cpu/kernels_avx2.cpp PROPERTIES
    COMPILE_OPTIONS "${QLORA_CPU_OPTIONS};${QLORA_AVX2_OPTIONS}")
  set_source_files_properties(cpu/kernels_avx512.cpp PROPERTIES
    COMPILE_OPTIONS "${QLORA_CPU_OPTIONS};${QLORA_AVX512_OPTIONS}")
  set_source_files_properties(cpu/kernels.cpp PROPERTIES
    COMPILE_DEFINITIONS QLORA_X86_KERNELS)
endif()
