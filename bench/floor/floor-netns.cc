// floor-netns.cc: see floor-netns.h.
#include "floor-netns.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace floor_bench {

namespace {

constexpr char kSelf[] = "/proc/thread-self/ns/net";

struct Sysctl {
  const char* path;
  const char* value;
  bool optional;
};

// Written before any link exists, so that none ever gets the defaults. A kernel without IPv6 lacks the IPv6 ones.
constexpr Sysctl kSysctls[] = {
    {"sys/net/ipv6/conf/default/accept_ra", "0", true},
    {"sys/net/ipv6/conf/default/accept_dad", "0", true},
    {"sys/net/ipv6/conf/default/disable_ipv6", "1", true},
};

// A procfs of the program's own, made anew now and then, as cleat has it (native/namespaces/sysctl.cc says why).
int Procfs() {
  constexpr int kNamespaces = 40;
  static int root = -1;
  static int used = kNamespaces;
  if (used++ < kNamespaces) return root;
  const int context = static_cast<int>(syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC));
  if (context < 0) return -1;
  if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return -1;
  if (root >= 0) close(root);
  root = static_cast<int>(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0));
  close(context);
  used = 1;
  return root;
}

int SysctlWrite(int procfs, const Sysctl& sysctl) {
  const int fd = openat(procfs, sysctl.path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = write(fd, sysctl.value, 1) == 1 ? 0 : errno;
  close(fd);
  return error;
}

int WriteAll(const std::string& path, const std::string& text, int flags) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0600);
  if (fd < 0) return errno;
  const ssize_t written = write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : static_cast<size_t>(written) == text.size() ? 0 : EIO;
  close(fd);
  return error;
}

}  // namespace

int NetnsEnterNew(const std::string& path) {
  const int placeholder = open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
  if (placeholder < 0) return errno;
  close(placeholder);
  if (unshare(CLONE_NEWNET) != 0) return errno;
  const int procfs = Procfs();
  if (procfs < 0) return errno;
  for (const Sysctl& sysctl : kSysctls) {
    const int error = SysctlWrite(procfs, sysctl);
    if (error != 0 && !(sysctl.optional && error == ENOENT)) return error;
  }
  if (mount(kSelf, path.c_str(), "none", MS_BIND, nullptr) != 0) return errno;
  return 0;
}

int NetnsLeave(int home) {
  return setns(home, CLONE_NEWNET) == 0 ? 0 : errno;
}

int NetnsCurrent() {
  return open(kSelf, O_RDONLY | O_CLOEXEC);
}

int NetnsRemove(const std::string& path) {
  if (umount2(path.c_str(), MNT_DETACH) != 0) return errno;
  return unlink(path.c_str()) == 0 ? 0 : errno;
}

int FileWrite(const std::string& path, const std::string& text) {
  return WriteAll(path, text, 0);
}

int FileReplace(const std::string& path, const std::string& text) {
  const std::string beside = path + ".tmp";
  const int error = WriteAll(beside, text, O_CREAT | O_TRUNC);
  if (error != 0) return error;
  return rename(beside.c_str(), path.c_str()) == 0 ? 0 : errno;
}

}  // namespace floor_bench
