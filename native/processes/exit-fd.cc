// exit-fd.cc: see exit-fd.h.
#include "exit-fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "pidfd.h"

namespace cleat {

namespace {

// Newer than the C library of Debian 12.
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

// Returns the name that /proc gives to a descriptor that is not a file (proc_pid_fd(5)).
std::string NameOf(int fd) {
  char name[64];
  ssize_t size = readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), name, sizeof name);
  return {name, static_cast<size_t>(size > 0 ? size : 0)};
}

ExitKind KindOfSocket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0) return ExitKind::kOther;
  if (type != SOCK_STREAM && type != SOCK_SEQPACKET) return ExitKind::kUnconnected;
  // A peer that has closed is one that was connected: it is asked for with HasHungUp.
  sockaddr_storage peer{};
  size = sizeof peer;
  bool connected = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0;
  return connected ? ExitKind::kSocket : ExitKind::kUnconnected;
}

}  // namespace

ExitKind KindOf(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return ExitKind::kOther;
  if (S_ISSOCK(info.st_mode)) return KindOfSocket(fd);
  const std::string name = NameOf(fd);
  if (name == "anon_inode:[pidfd]") return ExitKind::kProcess;
  // A pipe with a name can be opened by others, for writing, again and again: it has no end that means anything.
  if (!S_ISFIFO(info.st_mode) || name.compare(0, 5, "pipe:") != 0) return ExitKind::kOther;
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (flags & O_ACCMODE) == O_RDONLY ? ExitKind::kPipe : ExitKind::kWriteEnd;
}

short EndEvents(int fd) {
  struct stat info {};
  bool data = fstat(fd, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode));
  // A pidfd is readable once its process has ended (pidfd_open(2)); in a pipe or a socket that would be data.
  return static_cast<short>(data ? POLLRDHUP : POLLIN);
}

bool HasHungUp(int fd) {
  pollfd wait{fd, EndEvents(fd), 0};
  return poll(&wait, 1, 0) > 0;
}

Failure TakeDescriptor(pid_t pid, int number, UniqueFd* out, int64_t* start_time) {
  UniqueFd pidfd;
  if (Failure failure = HoldProcess(pid, &pidfd, start_time)) return failure;
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
  if (!fd) return {errno, "pidfd_getfd", ProcessName(pid)};
  *out = std::move(fd);
  return {};
}

}  // namespace cleat
