// The metadata bitsandbytes saves beside a 4-bit weight: X.quant_state.bitsandbytes__nf4 (JSON) and
// the two code tables. Read to make sure that the bytes mean what this library takes them to mean.
#pragma once

#include <cstdint>
#include <string>

namespace qlora {

// Checks a quant_state JSON against the linear [out, in] and returns nested_offset (0 without
// double quantisation). Throws Error naming the tensor and the field.
float read_bnb_state(const std::string& tensor, const std::string& json, int64_t out, int64_t in,
                     bool double_quantized);

// Throws Error(unsupported) when the table is not NF4's (16 floats) or the signed dynamic map
// (256).
void check_nf4_map(const std::string& tensor, const float* values);
void check_dynamic_map(const std::string& tensor, const float* values);

}  // namespace qlora
