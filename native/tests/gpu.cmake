# Everything there is to test on a machine with a GPU, in one command; needs nvcc and CMake ≥ 3.18:
#   cmake [-DBUILD=.build/gpu] [-DSTAGES="native;ptx;wrong;sanitizer"] -P native/tests/gpu.cmake
# Stages: native     the ops, the graph and the failures, compiled for this GPU
#         ptx        the same from PTX of compute capability 8.0 alone: nothing depends on newer GPUs
#         wrong      the library compiled for another GPU says so
#         sanitizer  compute-sanitizer's memcheck, racecheck, initcheck and synccheck
# Ends with a table. QLORA_CUBLAS_ROOT in the environment names cuBLASLt where the toolkit has none.
cmake_minimum_required(VERSION 3.18)
get_filename_component(NATIVE ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
if(NOT BUILD)
  set(BUILD ${NATIVE}/../.build/gpu)
endif()
if(NOT STAGES)
  set(STAGES native ptx wrong sanitizer)
endif()
cmake_host_system_information(RESULT CORES QUERY NUMBER_OF_LOGICAL_CORES)
find_program(CTEST ctest REQUIRED)
find_program(NINJA ninja)
set(GENERATOR "")
if(NINJA)
  set(GENERATOR -G Ninja)
endif()

execute_process(COMMAND nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader
                OUTPUT_VARIABLE GPU RESULT_VARIABLE status ERROR_QUIET
                OUTPUT_STRIP_TRAILING_WHITESPACE)
if(NOT status EQUAL 0)
  message("GPU tests skipped: no NVIDIA GPU is here")
  return()
endif()
message("${GPU}")

set(TABLE "")
set(FAILED 0)
macro(row stage name outcome seconds)
  set(TABLE "${TABLE}\n  ${stage}\t${outcome}\t${seconds} s\t${name}")
  if(NOT "${outcome}" STREQUAL "Passed")  # skipped, with a GPU here, is a failure too
    math(EXPR FAILED "${FAILED} + 1")
  endif()
endmacro()

# Configures and builds a target; architectures "" are this GPU's.
function(build folder architectures target)
  set(chosen "")
  if(architectures)
    set(chosen -DQLORA_CUDA_ARCHITECTURES=${architectures})
  endif()
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${NATIVE} -B ${BUILD}/${folder} ${GENERATOR}
                  -DCMAKE_BUILD_TYPE=Release -DQLORA_CUDA=ON -DQLORA_TESTS=ON ${chosen}
                  RESULT_VARIABLE status)
  if(status EQUAL 0)
    execute_process(COMMAND ${CMAKE_COMMAND} --build ${BUILD}/${folder} --config Release
                    --target ${target} --parallel ${CORES} RESULT_VARIABLE status)
  endif()
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "the CUDA tests do not build (${folder})")
  endif()
endfunction()

# Runs the tests of a label, so many together, adds a row for each.
macro(test stage folder label together)
  execute_process(COMMAND ${CTEST} -C Release -L ^${label}$ --output-on-failure -j ${together}
                  WORKING_DIRECTORY ${BUILD}/${folder} OUTPUT_VARIABLE output
                  ECHO_OUTPUT_VARIABLE RESULT_VARIABLE status)
  string(REGEX MATCHALL "Test +#[0-9]+: [^\n]+ sec" lines "${output}")
  if(NOT lines)
    row(${stage} "no test of this label: is compute-sanitizer installed?" Missing 0)
  endif()
  foreach(line ${lines})
    string(REGEX MATCH "#[0-9]+: ([^ ]+) [.]*[* ]*([A-Za-z][A-Za-z ]*[A-Za-z]) +([0-9.]+) sec" line
           "${line}")
    row(${stage} ${CMAKE_MATCH_1} "${CMAKE_MATCH_2}" ${CMAKE_MATCH_3})
  endforeach()
endmacro()

if("native" IN_LIST STAGES OR "sanitizer" IN_LIST STAGES)
  build(native "" qlora_cuda_tests)
endif()
if("native" IN_LIST STAGES)
  test(native native cuda 1)
  execute_process(COMMAND ${BUILD}/native/tests/cuda/qlora_cuda_graph_test golden)  # parity figures
endif()
if("ptx" IN_LIST STAGES)
  build(ptx 80-virtual qlora_cuda_tests)
  test(ptx ptx cuda 1)
endif()
if("wrong" IN_LIST STAGES)
  set(other 80-real)
  if(GPU MATCHES ", 8\\.")
    set(other 90-real)
  endif()
  build(wrong ${other} qlora_cuda_environment_test)
  execute_process(COMMAND ${BUILD}/wrong/tests/cuda/qlora_cuda_environment_test 8
                  "was compiled for ${other}" RESULT_VARIABLE status)
  if(status EQUAL 0)
    row(wrong cuda_environment_wrong_architecture Passed -)
  else()
    row(wrong cuda_environment_wrong_architecture Failed -)
  endif()
endif()
if("sanitizer" IN_LIST STAGES)
  test(sanitizer native sanitizer 4)
endif()

message("\n${GPU}${TABLE}\n")
if(FAILED GREATER 0)
  message(FATAL_ERROR "${FAILED} failed")
endif()
