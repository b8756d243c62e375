// deadline.cc: see deadline.h.
#include "deadline.h"

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace cleat_client {

namespace {

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1000} + now.tv_nsec / 1'000'000;
}

}  // namespace

Deadline Deadline::InMilliseconds(int64_t ms) {
  return Deadline(Now() + ms);
}

int Deadline::Left() const {
  return static_cast<int>(std::clamp<int64_t>(at_ - Now(), 0, INT_MAX));
}

bool Deadline::Await(int fd, short events) const {
  while (true) {
    int left = Left();
    pollfd wait{fd, events, 0};
    int ready = poll(&wait, 1, left);
    if (ready > 0) return true;
    if (left == 0 || (ready < 0 && errno != EINTR)) return false;
  }
}

}  // namespace cleat_client
