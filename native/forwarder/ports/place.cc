// place.cc: see place.h.
#include "place.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "../../namespaces/nsfile.h"
#include "../keep.h"

namespace cleat_forwarder {

namespace {

int home = -1;

// Keeps the thread in a namespace for as long as this object lives.
class Visit {
 public:
  explicit Visit(const UniqueFd& netns) {
    if (setns(netns.get(), CLONE_NEWNET) != 0) error_ = errno;
  }
  ~Visit() {
    if (error_ != 0) return;
    int error = errno;
    // Without this, ports would be opened, and connections made, in a container from here on.
    if (setns(home, CLONE_NEWNET) != 0) std::abort();
    errno = error;
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  int error() const { return error_; }

 private:
  int error_ = 0;
};

}  // namespace

Failure RememberHome() {
  home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return {errno, "open"};
  if (setns(home, CLONE_NEWNET) != 0) return {errno, "setns"};
  return {};
}

Place::~Place() {
  if (!keeps_v4_ && !keeps_v6_) return;
  UniqueFd netns;
  if (Open(&netns)) return;
  Visit visit(netns);
  if (visit.error() == 0) StopKeeping();
}

Failure Place::Open(UniqueFd* netns) const {
  UniqueFd fd;
  if (Failure failure = cleat::OpenNetns(path_, &fd)) return failure;
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return {errno, "fstat"};
  if (status.st_dev != dev_ || status.st_ino != ino_) return {ESTALE, "fstat"};
  *netns = std::move(fd);
  return {};
}

Failure Place::Check() const {
  UniqueFd netns;
  return Open(&netns);
}

void Place::KeepSources() {
  UniqueFd netns;
  if (Open(&netns)) return;
  Visit visit(netns);
  if (visit.error() != 0) return;
  keeps_v4_ = Keep(AF_INET);
  keeps_v6_ = Keep(AF_INET6);
}

Failure Place::MakeSocket(sa_family_t family, int type, UniqueFd* out) const {
  UniqueFd netns;
  if (Failure failure = Open(&netns)) return failure;
  Visit visit(netns);
  if (visit.error() != 0) return {visit.error(), "setns"};
  out->Reset(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return *out ? Failure{} : Failure{errno, "socket"};
}

}  // namespace cleat_forwarder
