// deadline.h: the time by which an executable must have its answer.
//
// Guarantees: absolute, and of CLOCK_MONOTONIC: it does not move when the guarded operation is retried, nor when the
// wall clock is set. Limits: milliseconds.
#pragma once

#include <cstdint>

namespace cleat_client {

class Deadline {
 public:
  static Deadline InMilliseconds(int64_t ms);
  // Returns the milliseconds left, rounded up, 0 if it has passed; fits poll(2).
  int Left() const;
  // Waits until a poll(2) event on `fd`; false if the deadline comes first.
  bool Await(int fd, short events) const;

 private:
  explicit Deadline(int64_t at) : at_(at) {}
  int64_t at_;
};

}  // namespace cleat_client
