# The CUDA build's sources, one op a file; read by ../CMakeLists.txt. Files without kernels are .cpp.
file(GLOB QLORA_CUDA_SOURCES CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR}
     ${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cu ${CMAKE_CURRENT_SOURCE_DIR}/cuda/*.cpp)
