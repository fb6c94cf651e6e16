# The CPU build's sources and the instruction-set flags of its hot files; read by ../CMakeLists.txt.
set(QLORA_CPU_SOURCES
  cpu/absmax_quantize.cpp
  cpu/attention.cpp
  cpu/attention_decode.cpp
  cpu/cross_entropy.cpp
  cpu/dequantize.cpp
  cpu/device.cpp
  cpu/dropout.cpp
  cpu/elementwise.cpp
  cpu/gemm.cpp
  cpu/head_norm.cpp
  cpu/isa.cpp
  cpu/linear_decode.cpp
  cpu/load.cpp
  cpu/nf4_quantize.cpp
  cpu/optimizer.cpp
  cpu/platform.cpp
  cpu/random.cpp
  cpu/rmsnorm.cpp
  cpu/rope.cpp
  cpu/sample.cpp
  cpu/swiglu.cpp
  cpu/thread_pool.cpp)

# a · b + c stays two roundings unless the code asks for one: the same bits from every compiler.
if(NOT MSVC)
  set_source_files_properties(${QLORA_CPU_SOURCES} PROPERTIES COMPILE_OPTIONS -ffp-contract=off)
endif()
