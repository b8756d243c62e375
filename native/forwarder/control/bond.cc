// bond.cc: see bond.h.
#include "bond.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "../../processes/exit-fd.h"
#include "../../processes/pidfd.h"

namespace cleat_forwarder {

namespace {

// Opens a pipe by a read end of another process, as a read end of our own (proc_pid_fd(5)). ESRCH if the number leads
// to something else by now, or nobody has the write end any more.
Failure OpenPipe(const PipeEnd& pipe, UniqueFd* out) {
  UniqueFd holder;
  if (Failure failure = cleat::HoldProcessOf(pipe.holder.pid, pipe.holder.start_time, &holder)) return failure;
  const std::string path = "/proc/" + std::to_string(pipe.holder.pid) + "/fd/" + std::to_string(pipe.fd);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY));
  if (!fd) return {errno == ENOENT || errno == ENXIO ? ESRCH : errno, "open"};
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) return {errno, "fstat"};
  bool same = S_ISFIFO(info.st_mode) && info.st_dev == pipe.dev && info.st_ino == pipe.ino;
  if (!same || cleat::HasHungUp(fd.get())) return {ESRCH, "open"};
  *out = std::move(fd);
  return {};
}

}  // namespace

size_t Bond::Descriptors(const std::vector<Tie>& to) {
  size_t count = 0;
  for (const Tie& tie : to) count += tie.processes.size() + (tie.pipe ? 1U : 0U);
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
  for (const Process& process : tie.processes) {
    UniqueFd fd;
    if (Failure failure = cleat::HoldProcessOf(process.pid, process.start_time, &fd)) return failure;
    if (Failure failure = hold(std::move(fd))) return failure;
  }
  if (tie.pipe) {
    UniqueFd fd;
    if (Failure failure = OpenPipe(*tie.pipe, &fd)) return failure;
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
