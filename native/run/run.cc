// cleat-run: executes a program in a container's network, as `cleat run` and `cleat exec` want it.
//
//   cleat-run PROGRAM [ARGUMENT...]
//
// Descriptor 3 is a socket. Three words come from it, each ended by a zero byte: the path of the network namespace, and
// the container's resolv.conf and hosts (empty words: stay, keep). A zero byte goes back: they were read. Then PROGRAM
// is executed in our own process, and the socket closes. If that fails, what failed is written to the socket first. So
// a container can be tied to this process before it has a network.
//
// PROGRAM has a mount namespace of its own: its /etc/resolv.conf and /etc/hosts are the container's, and its /sys shows
// the interfaces of the container. What the host mounts and unmounts later is seen in it (MS_SLAVE). What is mounted
// below /sys, such as the control groups, stays there.
//
// Guarantees: if the socket ends before the three words, nothing is executed. Our process id does not change.
// Limits: a file that the host does not have cannot be mounted over; that, and a kernel that refuses a /sys of our own,
// is said on standard error, and PROGRAM runs all the same. Exit: that of PROGRAM; 125 there is no such network, 126
// and 127 as shells say it.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "../fd.h"
#include "../namespaces/nsfile.h"
#include "../printable.h"

namespace cleat_run {

namespace {

constexpr int kOrders = 3;
constexpr int kRunFailed = 125;
constexpr int kNotInvocable = 126;
constexpr int kNotFound = 127;

constexpr char kSys[] = "/sys";

// Reads `count` words; false if there are fewer.
bool ReadOrders(size_t count, std::vector<std::string>* words) {
  std::string word;
  char byte = 0;
  while (words->size() < count) {
    const ssize_t got = read(kOrders, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got != 1) return false;
    if (byte == '\0') {
      words->push_back(std::exchange(word, ""));
    } else {
      word += byte;
    }
  }
  return true;
}

int Report(const std::string& what, int error, int code) {
  const std::string text = what + ": " + strerror(error);
  // Nobody reads it if the client has been killed.
  (void)!send(kOrders, text.data(), text.size(), MSG_NOSIGNAL);
  return code;
}

void Warn(const std::string& what) {
  std::fprintf(stderr, "Warning: %s: %s\n", cleat::Printable(what).c_str(), strerror(errno));
}

void Cover(const std::string& file, const char* target) {
  if (!file.empty() && mount(file.c_str(), target, nullptr, MS_BIND, nullptr) != 0) {
    Warn(std::string("cannot mount over ") + target);
  }
}

// Something that is mounted below /sys: its place, and a descriptor that leads to it when /sys is covered.
struct Mounted {
  std::string place;
  cleat::UniqueFd fd;
};

// Returns what is mounted below /sys. What is mounted below one of these comes with it.
std::vector<Mounted> BelowSys() {
  std::vector<Mounted> found;
  std::ifstream table("/proc/self/mountinfo");
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream fields(line);
    std::string skipped;
    std::string place;
    fields >> skipped >> skipped >> skipped >> skipped >> place;  // proc_pid_mountinfo(5)
    if (place.rfind("/sys/", 0) != 0) continue;
    const bool within = !found.empty() && place.rfind(found.back().place + "/", 0) == 0;
    cleat::UniqueFd fd(within ? -1 : open(place.c_str(), O_PATH | O_CLOEXEC));
    if (fd) found.push_back({place, std::move(fd)});
  }
  return found;
}

// Mounts a sysfs that shows the network namespace that we are in. A sysfs shows the one that it was mounted in.
void MountSys() {
  const std::vector<Mounted> below = BelowSys();
  struct statvfs now = {};
  const bool locked = statvfs(kSys, &now) == 0 && (now.f_flag & ST_RDONLY) != 0;
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | (locked ? MS_RDONLY : 0);
  if (mount("sysfs", kSys, "sysfs", flags, nullptr) != 0) return Warn("cannot mount a /sys of its own");
  for (const Mounted& one : below) {
    const std::string source = "/proc/self/fd/" + std::to_string(one.fd.get());
    // A directory that the new one lacks belongs to a module that went meanwhile.
    if (mount(source.c_str(), one.place.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0 && errno != ENOENT) {
      Warn("cannot mount " + one.place);
    }
  }
}

int Become(const std::vector<std::string>& orders, char* const* program) {
  const std::string& path = orders[0];
  (void)!send(kOrders, "", 1, MSG_NOSIGNAL);
  if (!path.empty()) {
    cleat::UniqueFd netns;
    cleat::Failure failure = cleat::OpenAnyNetns(path, &netns);
    if (!failure && setns(netns.get(), CLONE_NEWNET) != 0) failure = {errno, "setns", path};
    if (failure) return Report(failure.object, failure.error, kRunFailed);
    if (unshare(CLONE_NEWNS) != 0 || mount("", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) {
      return Report("a mount namespace", errno, kRunFailed);
    }
    Cover(orders[1], "/etc/resolv.conf");
    Cover(orders[2], "/etc/hosts");
    MountSys();
  }
  execvp(program[0], program);
  return Report(program[0], errno, errno == ENOENT ? kNotFound : kNotInvocable);
}

}  // namespace

}  // namespace cleat_run

int main(int argc, char** argv) {
  using namespace cleat_run;
  std::vector<std::string> orders;
  if (argc < 2 || fcntl(kOrders, F_SETFD, FD_CLOEXEC) != 0) {
    std::fprintf(stderr, "usage: cleat-run PROGRAM [ARGUMENT...], with a socket as descriptor 3\n");
    return kRunFailed;
  }
  return ReadOrders(3, &orders) ? Become(orders, argv + 1) : kRunFailed;
}
