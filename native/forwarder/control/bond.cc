// bond.cc: see bond.h.
#include "bond.h"

#include <cerrno>

#include "../../processes/pidfd.h"

namespace cleat_forwarder {

Failure Bond::Hold(Engine* engine) {
  for (const Process& process : to_) {
    UniqueFd pidfd;
    if (Failure failure = cleat::HoldProcessOf(process.pid, process.start_time, &pidfd)) {
      if (failure.error == ESRCH) continue;
      return failure;
    }
    Held& held = held_.emplace_back(this, std::move(pidfd));
    // A pidfd is readable once its process has ended (pidfd_open(2)), also if it ended just before this call.
    if (int error = engine->Watch(held.pidfd.get(), EPOLLIN, &held); error != 0) return {error, "epoll_ctl"};
    living_++;
  }
  return living_ > 0 ? Failure{} : Failure{ESRCH, "pidfd_open"};
}

void Bond::Ended(Held* held) {
  if (buried()) return;
  held->pidfd.Reset();
  if (--living_ == 0) ended_();
}

}  // namespace cleat_forwarder
