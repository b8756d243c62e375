// bond.cc: see bond.h.
#include "bond.h"

#include <sys/stat.h>

#include <cerrno>

#include "../../processes/exit-fd.h"
#include "../../processes/pidfd.h"

namespace cleat_forwarder {

namespace {

// ESRCH also if the number leads to something else by now.
Failure Take(const ExitDescriptor& exit, UniqueFd* out) {
  int64_t start_time = 0;
  Failure failure = cleat::TakeDescriptor(exit.holder.pid, exit.fd, out, &start_time);
  if (failure) return failure.error == EBADF ? Failure{ESRCH, failure.syscall, failure.object} : failure;
  struct stat info {};
  if (fstat(out->get(), &info) != 0) return {errno, "fstat"};
  bool same = start_time == exit.holder.start_time && info.st_dev == exit.dev && info.st_ino == exit.ino;
  return same && !cleat::HasHungUp(out->get()) ? Failure{} : Failure{ESRCH, "pidfd_getfd"};
}

}  // namespace

size_t Bond::Descriptors(const std::vector<Tie>& to) {
  size_t count = 0;
  for (const Tie& tie : to) count += (tie.process ? 1U : 0U) + (tie.exit ? 1U : 0U);
  return count;
}

Failure Bond::Hold(Engine* engine) {
  for (const Tie& tie : to_) {
    Failure failure = HoldContainer(engine, tie, &containers_.emplace_back(this));
    if (failure.error == ESRCH) {
      containers_.back().held.clear();
      containers_.back().ended = true;
      continue;
    }
    if (failure) return failure;
    living_++;
  }
  return living_ > 0 ? Failure{} : Failure{ESRCH, "pidfd_open"};
}

Failure Bond::HoldContainer(Engine* engine, const Tie& tie, Container* container) {
  auto hold = [engine, container](UniqueFd fd) {
    const auto events = static_cast<uint32_t>(cleat::EndEvents(fd.get()));
    Held& held = container->held.emplace_back(container, std::move(fd));
    // Also reported if it ended just before this call.
    int error = engine->Watch(held.fd.get(), events, &held);
    return error == 0 ? Failure{} : Failure{error, "epoll_ctl"};
  };
  if (tie.process) {
    UniqueFd fd;
    if (Failure failure = cleat::HoldProcessOf(tie.process->pid, tie.process->start_time, &fd)) return failure;
    if (Failure failure = hold(std::move(fd))) return failure;
  }
  if (tie.exit) {
    UniqueFd fd;
    if (Failure failure = Take(*tie.exit, &fd)) return failure;
    if (Failure failure = hold(std::move(fd))) return failure;
  }
  return {};
}

void Bond::Ended(Container* container) {
  if (buried() || container->ended) return;
  container->ended = true;
  for (Held& held : container->held) held.fd.Reset();
  if (--living_ == 0) ended_();
}

}  // namespace cleat_forwarder
