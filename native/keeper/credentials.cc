// credentials.cc: see credentials.h.
#include "credentials.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "../fd.h"

namespace cleat_keeper {

namespace {

// A connection takes one, in pasta with a pipe for each direction five. Unbounded, one container could use up all
// descriptors that the machine has (fs.file-max).
constexpr rlim_t kMostDescriptors = 16384;
// Documentation/admin-guide/devices.txt: /dev/net/tun.
constexpr int kTunMajor = 10;
constexpr int kTunMinor = 200;
constexpr char kTun[] = "/dev/net/tun";

bool WriteFile(const char* path, const std::string& text) {
  cleat::UniqueFd file(open(path, O_WRONLY | O_CLOEXEC));
  return file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

}  // namespace

const char* BecomeUser(uid_t user, gid_t group, cleat::Capabilities capabilities) {
  if ((errno = cleat::BoundCapabilities(capabilities)) != 0) return "prctl(PR_CAPBSET_DROP)";
  if ((errno = cleat::BecomeUser(user, group)) != 0) return "setresuid";
  if ((errno = cleat::SetCapabilities(capabilities, true)) != 0) return "capset";
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? nullptr : "prctl(PR_SET_NO_NEW_PRIVS)";
}

const char* BecomeRootOfOwnNamespace(uid_t user, gid_t group) {
  // CAP_SYS_ADMIN: some distributions let nobody else make user namespaces. Entering the new one ends the capability.
  if (const char* step = BecomeUser(user, group, cleat::CapabilityBit(CAP_SYS_ADMIN))) return step;
  // Without this /proc/self belongs to root, because we have changed our user (PR_SET_DUMPABLE, prctl(2)).
  if (prctl(PR_SET_DUMPABLE, 1) != 0) return "prctl(PR_SET_DUMPABLE)";
  if (unshare(CLONE_NEWUSER) != 0) return "unshare(CLONE_NEWUSER)";
  auto map = [](uint32_t id) { return "0 " + std::to_string(id) + " 1\n"; };
  if (!WriteFile("/proc/self/setgroups", "deny")) return "/proc/self/setgroups";
  if (!WriteFile("/proc/self/uid_map", map(user))) return "/proc/self/uid_map";
  return WriteFile("/proc/self/gid_map", map(group)) ? nullptr : "/proc/self/gid_map";
}

// A process that makes a network namespace is in it. Another process makes it, so that we stay where we are: coming
// back would need a capability over the namespace that we are in, which does not belong to our user namespace. That
// process ends when our end of the socket closes, so it ends too when we are killed meanwhile.
const char* MakeNetns(int* fd) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return "socketpair";
  cleat::UniqueFd ours(ends[0]);
  cleat::UniqueFd theirs(ends[1]);
  pid_t pid = fork();
  if (pid < 0) return "fork";
  if (pid == 0) {
    ours.Reset();
    int error = unshare(CLONE_NEWNET) == 0 ? 0 : errno;
    char byte;
    if (write(theirs.get(), &error, sizeof error) == sizeof error) {
      [[maybe_unused]] ssize_t size = read(theirs.get(), &byte, 1);
    }
    _exit(0);
  }
  theirs.Reset();
  int error = 0;
  ssize_t size;
  do {
    size = read(ours.get(), &error, sizeof error);
  } while (size < 0 && errno == EINTR);
  if (size != sizeof error) error = EPIPE;
  if (error == 0) {
    *fd = open(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC);
    if (*fd < 0) error = errno;
  }
  ours.Reset();
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = error;
  return error == 0 ? nullptr : "unshare(CLONE_NEWNET)";
}

const char* OfferTun(uid_t user) {
  struct stat info {};
  // Without the device, the program reports that itself.
  if (stat(kTun, &info) != 0 || (info.st_mode & (S_IROTH | S_IWOTH)) == (S_IROTH | S_IWOTH)) return nullptr;
  if (mount("tmpfs", "/dev/net", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=4k") != 0) return "mount(/dev/net)";
  if (mknod(kTun, S_IFCHR | 0600, makedev(kTunMajor, kTunMinor)) != 0) return "mknod(/dev/net/tun)";
  return chown(kTun, user, user) == 0 ? nullptr : "chown(/dev/net/tun)";
}

const char* LimitResources() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return "getrlimit";
  files.rlim_max = std::min(files.rlim_max, kMostDescriptors);
  files.rlim_cur = files.rlim_max;
  rlimit core{0, 0};
  return setrlimit(RLIMIT_NOFILE, &files) == 0 && setrlimit(RLIMIT_CORE, &core) == 0 ? nullptr : "setrlimit";
}

}  // namespace cleat_keeper
