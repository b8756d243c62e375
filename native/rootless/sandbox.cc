// cleat-sandbox: becomes a program of others in a mount namespace of its own (docs/decisions/0062).
//
//   cleat-sandbox [--bind FROM TO | --tmpfs TO]... -- PROGRAM [ARGUMENT...]
//
// CNI plugins and netavark expect a machine of their own: they write below /run and /var/lib/cni, and read resolv.conf.
// An ordinary user's daemon decides what they find there (plan/external/sandbox.ts); we only do it, in the process that
// becomes the program, so that the daemon's own mounts stay as they are.
//
// Guarantees: the mounts are made in the order in which they are given, so that a later one may cover an earlier one.
// Propagation is stopped before the first, so nothing of it is seen outside; what the host mounts is seen inside. A
// mount point that is not there is made, with the directories above it. What fails is said on standard error, and the
// program does not run. Our process id, environment and descriptors become the program's.
// Limits: needs CAP_SYS_ADMIN over the user namespace that our mount namespace belongs to. The network namespace is the
// caller's affair.
// Exit: that of PROGRAM; 125 a mount failed, 126 and 127 as shells say it, 2 usage.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "../fd.h"
#include "../printable.h"

namespace cleat_rootless {

namespace {

constexpr int kUsage = 2;
constexpr int kMountFailed = 125;
constexpr int kNotInvocable = 126;
constexpr int kNotFound = 127;

int Complain(const std::string& what, int code) {
  const std::string text = what + ": " + strerror(errno);
  std::fprintf(stderr, "cleat-sandbox: %s\n", cleat::Printable(text).c_str());
  return code;
}

int Usage() {
  std::fprintf(stderr, "usage: cleat-sandbox [--bind FROM TO | --tmpfs TO]... -- PROGRAM [ARGUMENT...]\n");
  return kUsage;
}

bool MakeDirectories(const std::string& path) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    if (mkdir(path.substr(0, end).c_str(), 0755) != 0 && errno != EEXIST) return false;
    if (end == std::string::npos) return true;
  }
}

// Makes the mount point for a directory or a file, unless something is there.
bool MakePoint(const std::string& path, bool directory) {
  struct stat info {};
  if (stat(path.c_str(), &info) == 0) return true;
  if (directory) return MakeDirectories(path);
  const size_t name = path.rfind('/');
  if (name > 0 && !MakeDirectories(path.substr(0, name))) return false;
  return static_cast<bool>(cleat::UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644)));
}

bool Bind(const char* from, const char* to) {
  struct stat info {};
  return stat(from, &info) == 0 && MakePoint(to, S_ISDIR(info.st_mode)) &&
         mount(from, to, nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

bool Cover(const char* to) {
  return MakePoint(to, true) && mount("tmpfs", to, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755") == 0;
}

int Become(int count, char** words) {
  if (unshare(CLONE_NEWNS) != 0) return Complain("unshare(CLONE_NEWNS)", kMountFailed);
  if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return Complain("stopping mounts", kMountFailed);
  const mode_t mask = umask(022);
  int at = 0;
  while (at < count && strcmp(words[at], "--") != 0) {
    const bool bind = strcmp(words[at], "--bind") == 0;
    const int last = at + (bind ? 2 : 1);
    if ((!bind && strcmp(words[at], "--tmpfs") != 0) || last >= count) return Usage();
    if (!(bind ? Bind(words[at + 1], words[last]) : Cover(words[last]))) {
      return Complain(std::string("mounting ") + words[last], kMountFailed);
    }
    at = last + 1;
  }
  if (at + 1 >= count) return Usage();
  umask(mask);
  char** program = words + at + 1;
  // The directory that we are in may be below what was covered.
  if (chdir("/") != 0) return Complain("/", kMountFailed);
  execv(program[0], program);
  return Complain(program[0], errno == ENOENT ? kNotFound : kNotInvocable);
}

}  // namespace

}  // namespace cleat_rootless

int main(int argc, char** argv) {
  return cleat_rootless::Become(argc - 1, argv + 1);
}
