// Ways of doing the same thing, timed in turns: the card's clock drifts by more than they differ.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace bench {

struct Way {
  std::string name;
  std::function<void()> work;
};

struct Times {
  double seconds;   // median
  double of_first;  // median over the rounds of its time over the first way's in the same round
  double clock;     // median MHz of the multiprocessors
};

// Every round runs each way for about `seconds`, in an order of its own.
std::vector<Times> time_in_rounds(const std::vector<Way>& ways, int rounds, double seconds);

}  // namespace bench
