// What the device can do at most: the ceilings that measured times are set against.
#pragma once

#include "ops.h"

namespace qlora {

struct DeviceRates {
  double product_flops;  // operations a second of a large product of act_t, fp32 accumulation:
                         // of the fastest 20 ms, in which a cool card's clock is high
  double copy_bytes;     // bytes a second, read plus written, of a copy inside the device
  double upload_bytes;   // bytes a second from pageable host memory to the device
  int64_t product_size;  // of the square product that was timed
  double sustained_product_flops;  // the same over 2 s, after seconds of nothing else
};

// Times them on random numbers, in about six seconds on a GPU. The device must be idle.
DeviceRates measure_rates(Device& device);

}  // namespace qlora
