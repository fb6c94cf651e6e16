// What the adapter costs beside the base product, and which of the ways to add it costs least.
#pragma once

#include <cstdint>

namespace bench {

// The 8B model's four groups, forward and backward, for `tokens` rows, or for several numbers of
// rows where tokens is 0.
void adapter_products(int64_t tokens);

}  // namespace bench
