# The CUDA library: the same graph over cuda/*. Included by ../CMakeLists.txt with -DQLORA_CUDA=ON.
#   QLORA_CUDA_ARCHITECTURES  what to compile for, as CMake writes it: "90-real", "80-virtual" (PTX
#                             only), … Default: the GPU of this machine, or every one from Ampere on.
#   QLORA_CUDA_COMPILE_ONLY   no library and no tests: the target qlora_cuda_objects alone; without
#                             cuBLASLt's header, less the two files that include it.
#   QLORA_CUBLAS_ROOT         folder with include/cublasLt.h and the library, where the toolkit has
#                             none (also as an environment variable).
set(QLORA_CUDA_ARCHITECTURES "" CACHE STRING "GPU architectures of the CUDA library")
option(QLORA_CUDA_COMPILE_ONLY "Compile the CUDA objects, link nothing" OFF)
set(QLORA_CUBLAS_ROOT "$ENV{QLORA_CUBLAS_ROOT}" CACHE PATH "Where cuBLASLt is, besides the toolkit")

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-virtual)  # for the compiler's check; targets get their own below
endif()
enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
find_package(CUDAToolkit REQUIRED)

# Machine code for the GPUs here, else for all; PTX of the oldest serves every later one.
if(NOT QLORA_CUDA_ARCHITECTURES)
  set(QLORA_GPUS "")
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader
                  OUTPUT_VARIABLE QLORA_GPU_TEXT ERROR_QUIET RESULT_VARIABLE QLORA_GPU_STATUS)
  if(QLORA_GPU_STATUS EQUAL 0)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]+" QLORA_GPU_LIST "${QLORA_GPU_TEXT}")
    foreach(capability ${QLORA_GPU_LIST})
      string(REPLACE "." "" capability ${capability})
      if(capability EQUAL 90)
        list(APPEND QLORA_GPUS 90a-real)  # a: with the warpgroup products
      elseif(capability GREATER_EQUAL 80)
        list(APPEND QLORA_GPUS ${capability}-real)
      endif()
    endforeach()
    list(REMOVE_DUPLICATES QLORA_GPUS)
  endif()
  if(NOT QLORA_GPUS)
    set(QLORA_GPUS 80-real 86-real 89-real 90a-real)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
      list(APPEND QLORA_GPUS 100-real 120-real)
    endif()
  endif()
  set(QLORA_CUDA_ARCHITECTURES ${QLORA_GPUS} 80-virtual)
endif()
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${QLORA_CUDA_ARCHITECTURES}")

set(QLORA_CUBLAS_HINTS ${QLORA_CUBLAS_ROOT} ${CUDAToolkit_LIBRARY_ROOT} ${CUDAToolkit_LIBRARY_DIR}
    ${CUDAToolkit_INCLUDE_DIRS})
find_path(QLORA_CUBLASLT_INCLUDE cublasLt.h HINTS ${QLORA_CUBLAS_HINTS} PATH_SUFFIXES include)
find_library(QLORA_CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12
             HINTS ${QLORA_CUBLAS_HINTS} PATH_SUFFIXES lib lib64 lib/x64)
if(QLORA_CUDA_COMPILE_ONLY)
  # The objects alone: what a machine without cuBLAS can check.
elseif(NOT QLORA_CUBLASLT_INCLUDE OR NOT QLORA_CUBLASLT_LIBRARY)
  message(FATAL_ERROR "cuBLASLt was not found beside the CUDA toolkit. Install the toolkit's cuBLAS "
    "development package, or name the folder that holds include/cublasLt.h: QLORA_CUBLAS_ROOT")
endif()

include(cuda/sources.cmake)
string(REPLACE ";" ", " QLORA_ARCHITECTURE_TEXT "${QLORA_CUDA_ARCHITECTURES}")
set_source_files_properties(cuda/device.cpp PROPERTIES
  COMPILE_DEFINITIONS "QLORA_ARCHITECTURES=\"${QLORA_ARCHITECTURE_TEXT}\"")
if(NOT QLORA_CUBLASLT_INCLUDE)
  message(STATUS "cuBLASLt's header is not here: cuda/device.cpp and cuda/gemm.cpp are left out")
  list(REMOVE_ITEM QLORA_CUDA_SOURCES cuda/device.cpp cuda/gemm.cpp)
  set(QLORA_CUBLASLT_INCLUDE "")
endif()
add_library(qlora_cuda_objects OBJECT ${QLORA_GRAPH_SOURCES} ${QLORA_CUDA_SOURCES})
target_include_directories(qlora_cuda_objects PUBLIC include src cuda)
target_include_directories(qlora_cuda_objects SYSTEM PUBLIC ${CUDAToolkit_INCLUDE_DIRS}
                           ${QLORA_CUBLASLT_INCLUDE})
target_compile_definitions(qlora_cuda_objects PUBLIC QLORA_BUILD
                           QLORA_VERSION="${PROJECT_VERSION}")
target_link_libraries(qlora_cuda_objects PUBLIC qlora_options CUDA::cudart_static)
if(QLORA_CUBLASLT_LIBRARY)
  target_link_libraries(qlora_cuda_objects PUBLIC ${QLORA_CUBLASLT_LIBRARY})
endif()
if(MSVC)
  target_compile_options(qlora_cuda_objects PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=/utf-8,/EHsc>)
else()
  target_compile_options(qlora_cuda_objects PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>)
endif()
set_target_properties(qlora_cuda_objects PROPERTIES
  CUDA_ARCHITECTURES "${QLORA_CUDA_ARCHITECTURES}")
if(QLORA_CUDA_COMPILE_ONLY)
  return()
endif()

add_library(qlora_cuda SHARED)
target_link_libraries(qlora_cuda PRIVATE qlora_cuda_objects)
set_target_properties(qlora_cuda PROPERTIES OUTPUT_NAME qlora_cuda LINKER_LANGUAGE CXX)
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU" AND NOT QLORA_SANITIZE)
  target_link_options(qlora_cuda PRIVATE -static-libgcc -static-libstdc++)
  if(NOT APPLE AND NOT WIN32)
    target_link_options(qlora_cuda PRIVATE -Wl,--exclude-libs,ALL)
  endif()
endif()
