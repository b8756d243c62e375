// pidfd.cc: see pidfd.h.
#include "pidfd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

namespace cleat {

std::string ProcessName(pid_t pid) {
  return "process " + std::to_string(pid);
}

Failure ReadStartTime(pid_t pid, int64_t* start_time) {
  UniqueFd file(open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  ssize_t size = file ? read(file.get(), text, sizeof text - 1) : -1;
  if (size <= 0) {
    // read(2) fails with ESRCH if the process ends in between.
    int error = size == 0 || errno == ENOENT ? ESRCH : errno;
    return {error, "open", ProcessName(pid)};
  }
  text[size] = '\0';
  // Field 2 is the command in parentheses and may itself hold spaces and parentheses (proc(5)); field 3 follows the
  // last.
  const char* field = strrchr(text, ')');
  for (int i = 2; field != nullptr && i < 22; i++) field = strchr(field + 1, ' ');
  if (field == nullptr) return {EPROTO, "read", ProcessName(pid)};
  *start_time = strtoll(field + 1, nullptr, 10);
  return {};
}

bool HasEnded(int pidfd) {
  pollfd wait{pidfd, POLLIN, 0};
  return poll(&wait, 1, 0) > 0;
}

Failure HoldProcess(pid_t pid, UniqueFd* pidfd, int64_t* start_time) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return {errno, "pidfd_open", ProcessName(pid)};
  if (Failure failure = ReadStartTime(pid, start_time)) return failure;
  // The process is alive now, so it had its pid all the while: the start time is its own.
  if (HasEnded(fd.get())) return {ESRCH, "pidfd_open", ProcessName(pid)};
  *pidfd = std::move(fd);
  return {};
}

Failure HoldProcessOf(pid_t pid, int64_t start_time, UniqueFd* pidfd) {
  int64_t found = 0;
  if (Failure failure = HoldProcess(pid, pidfd, &found)) return failure;
  if (found != start_time) return {ESRCH, "pidfd_open", ProcessName(pid)};
  return {};
}

}  // namespace cleat
