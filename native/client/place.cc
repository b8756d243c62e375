// place.cc: see place.h.
#include "place.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "../fd.h"

namespace cleat_client {

namespace {

constexpr int kAttempts = 100;

std::string Reason(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

std::string Variable(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

// Returns true if the directory is the caller's alone: nobody else can put a socket or a link there.
bool IsOwn(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
         (found.st_mode & 022) == 0;
}

// Returns true if nobody else can take away or replace what is ours in the directory: a tmpfs has mode 1777 unless its
// mount says otherwise.
bool IsSafeParent(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode) && found.st_uid == geteuid() &&
         ((found.st_mode & 022) == 0 || (found.st_mode & S_ISVTX) != 0);
}

bool IsAbsent(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) != 0 && errno == ENOENT;
}

// Returns true if both processes are in the same namespace of that kind; false also if that may not be known.
bool SharesWithInit(const std::string& kind) {
  struct stat own {};
  struct stat init {};
  return stat(("/proc/self/ns/" + kind).c_str(), &own) == 0 && stat(("/proc/1/ns/" + kind).c_str(), &init) == 0 &&
         own.st_dev == init.st_dev && own.st_ino == init.st_ino;
}

// The inode of the first user namespace is the same on every machine (PROC_USER_INIT_INO, linux/proc_ns.h). Where root
// may not look at pid 1, it is known by that alone.
bool IsFirstUserNamespace() {
  constexpr ino_t kFirst = 0xEFFFFFFDU;
  struct stat own {};
  return (stat("/proc/self/ns/user", &own) == 0 && own.st_ino == kFirst) || SharesWithInit("user");
}

// Returns the uid that the caller has in the user namespace above its own, by which /run/user is named.
std::optional<uint64_t> UserOutside() {
  const std::unique_ptr<FILE, int (*)(FILE*)> map(std::fopen("/proc/self/uid_map", "re"), std::fclose);
  if (!map) return std::nullopt;
  unsigned long long inside;
  unsigned long long outside;
  unsigned long long count;
  while (std::fscanf(map.get(), "%llu %llu %llu", &inside, &outside, &count) == 3) {
    if (geteuid() >= inside && geteuid() - inside < count) return outside + (geteuid() - inside);
  }
  return std::nullopt;
}

// Returns the directory in which directories of daemons are; empty if there is none for this user. Root of the machine
// has /run; so has root of a container that has an init of its own. Root of any other user namespace is a plain user.
std::string Base() {
  if (geteuid() == 0 && IsFirstUserNamespace() &&
      (IsOwn(kDefaultDirectory) || (IsAbsent(kDefaultDirectory) && IsSafeParent("/run")))) {
    return kDefaultDirectory;
  }
  std::string runtime = Variable("XDG_RUNTIME_DIR");
  if (!runtime.empty() && runtime.front() == '/' && IsOwn(runtime)) return runtime + "/cleat";
  std::optional<uint64_t> user = UserOutside();
  runtime = user ? "/run/user/" + std::to_string(*user) : "";
  return IsOwn(runtime) ? runtime + "/cleat" : "";
}

// Names a network namespace. The kernel gives inode numbers out again, but never a cookie (Linux 5.14): what is left of
// a daemon in a namespace that is gone is not taken for that of another one.
std::string NameOf(const Netns& netns) {
  std::string name = "netns-" + std::to_string(netns.ino);
  cleat::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (fd && getsockopt(fd.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0) {
    name += "-" + std::to_string(cookie);
  }
  return name;
}

}  // namespace

std::optional<std::string> ChosenSocket(const std::optional<std::string>& option) {
  if (option) return option;
  std::string variable = Variable("CLEAT_SOCKET");
  if (!variable.empty()) return variable;
  return std::nullopt;
}

std::string OwnNetns(Netns* out) {
  struct stat found {};
  if (stat("/proc/self/ns/net", &found) != 0)
    return Reason("cannot tell which network namespace this is: /proc/self/ns/net");
  *out = {found.st_dev, found.st_ino};
  return "";
}

std::string FindPlace(const Netns& netns, Place* out) {
  std::string base = Base();
  if (base.empty()) {
    return "there is no directory for a daemon of this user: set XDG_RUNTIME_DIR to a directory that is the user's "
           "alone";
  }
  out->machine = base == kDefaultDirectory && SharesWithInit("net");
  out->directory = out->machine ? base : base + "/" + NameOf(netns);
  out->others.clear();
  if (!out->machine) out->others.push_back(base + "/cleat.sock");
  if (geteuid() == 0 && base != kDefaultDirectory) out->others.emplace_back(kDefaultSocket);
  return "";
}

std::string BaseOf(const Place& place) {
  return place.directory.substr(0, place.directory.rfind('/'));
}

std::string MakePlace(const Place& place) {
  const std::string base = BaseOf(place);
  // 0751: the users that the daemon's helpers run as pass through (service/start/open-state.ts).
  constexpr mode_t kMode = 0751;
  // A daemon that leaves removes what is empty, maybe between the two.
  for (int attempt = 0; mkdir(place.directory.c_str(), kMode) != 0 && errno != EEXIST; ++attempt) {
    if (errno != ENOENT || attempt == kAttempts) return Reason("cannot make " + place.directory);
    if (mkdir(base.c_str(), kMode) != 0 && errno != EEXIST) return Reason("cannot make " + base);
  }
  if (!IsOwn(place.directory)) return place.directory + " is no place for a daemon: others may write to it";
  return "";
}

}  // namespace cleat_client
