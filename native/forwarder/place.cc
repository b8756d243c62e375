// place.cc: see place.h.
#include "place.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstdlib>

#include "keep.h"

namespace cleat_forwarder {

namespace {

int home = -1;

// In a namespace, as long as this lives.
class Visit {
 public:
  explicit Visit(const UniqueFd& netns) {
    if (setns(netns.get(), CLONE_NEWNET) != 0) error_ = errno;
  }
  ~Visit() {
    if (error_ != 0) return;
    int error = errno;
    // From here on ports would be opened, and connections made, in a container.
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

Trouble RememberHome() {
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

Trouble Place::Open(UniqueFd* netns) const {
  // O_NONBLOCK: a path that turns out to be a FIFO must not hang everyone.
  UniqueFd fd(open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return {errno, "open"};
  struct statfs filesystem;
  if (fstatfs(fd.get(), &filesystem) != 0) return {errno, "fstatfs"};
  // The ioctl only means what we think it means on nsfs (ioctl_ns(2)).
  if (filesystem.f_type != NSFS_MAGIC) return {EINVAL, "fstatfs"};
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) return {EINVAL, "ioctl(NS_GET_NSTYPE)"};
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return {errno, "fstat"};
  if (status.st_dev != dev_ || status.st_ino != ino_) return {ESTALE, "fstat"};
  *netns = std::move(fd);
  return {};
}

Trouble Place::Check() const {
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

Trouble Place::MakeSocket(sa_family_t family, int type, UniqueFd* out) const {
  UniqueFd netns;
  if (Trouble trouble = Open(&netns)) return trouble;
  Visit visit(netns);
  if (visit.error() != 0) return {visit.error(), "setns"};
  out->Reset(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return *out ? Trouble{} : Trouble{errno, "socket"};
}

}  // namespace cleat_forwarder
