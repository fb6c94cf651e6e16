// The one exception type inside the library; the ABI turns it into a status and a message.
#pragma once

#include <stdexcept>
#include <string>

#include "qlora.h"

namespace qlora {

class Error : public std::runtime_error {
 public:
  Error(qlora_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  qlora_status status() const noexcept { return status_; }

 private:
  qlora_status status_;
};

}  // namespace qlora
