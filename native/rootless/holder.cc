// holder.cc: see holder.h.
#include "holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../pipe.h"
#include "../processes/pidfd.h"
#include "mapping.h"
#include "mounts.h"

namespace cleat_rootless {

namespace {

struct Record {
  pid_t pid = 0;
  int64_t start = 0;
  uint64_t user_ns = 0;
  uint64_t mount_ns = 0;
  std::string directory;
};

// The namespaces of a process.
struct Spaces {
  cleat::UniqueFd user;
  cleat::UniqueFd mount;
};

Trouble Failed(const std::string& what) {
  return {what + ": " + strerror(errno), ""};
}

std::string RecordOf(const User& user) {
  return user.directory + "/namespace";
}

bool ReadRecord(const User& user, Record* out) {
  std::string text;
  if (!ReadFile(RecordOf(user), &text)) return false;
  char directory[128];
  long long start;
  unsigned long long user_ns;
  unsigned long long mount_ns;
  if (std::sscanf(text.c_str(), "%d %lld %llu %llu %127s\n", &out->pid, &start, &user_ns, &mount_ns, directory) != 5)
    return false;
  out->start = start;
  out->user_ns = user_ns;
  out->mount_ns = mount_ns;
  out->directory = directory;
  return out->pid > 1;
}

bool Identify(int fd, uint64_t* inode) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return false;
  *inode = info.st_ino;
  return true;
}

// Written beside and renamed: it is whole from the moment that it has its name.
bool WriteRecord(const std::string& directory, const Record& record) {
  const std::string path = directory + "/namespace";
  const std::string draft = path + ".new";
  const std::string text = std::to_string(record.pid) + " " + std::to_string(record.start) + " " +
                           std::to_string(record.user_ns) + " " + std::to_string(record.mount_ns) + " " +
                           record.directory + "\n";
  cleat::UniqueFd file(open(draft.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  return file && write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
         rename(draft.c_str(), path.c_str()) == 0;
}

// Opens the namespaces of a process if they are those of the record.
bool OpenSpaces(pid_t pid, const Record& record, Spaces* out) {
  const std::string base = "/proc/" + std::to_string(pid) + "/ns/";
  out->user.Reset(open((base + "user").c_str(), O_RDONLY | O_CLOEXEC));
  out->mount.Reset(open((base + "mnt").c_str(), O_RDONLY | O_CLOEXEC));
  uint64_t user = 0;
  uint64_t mount = 0;
  return out->user && out->mount && Identify(out->user.get(), &user) && Identify(out->mount.get(), &mount) &&
         user == record.user_ns && mount == record.mount_ns;
}

// The holder, if it lives.
bool FindHolder(const Record& record, Spaces* out) {
  cleat::UniqueFd pidfd;
  return !cleat::HoldProcessOf(record.pid, record.start, &pidfd) && OpenSpaces(record.pid, record, out) &&
         !cleat::HasEnded(pidfd.get());
}

// Any process that is where the holder was.
bool FindOther(const Record& record, Spaces* out) {
  DIR* processes = opendir("/proc");
  if (processes == nullptr) return false;
  bool found = false;
  while (const dirent* entry = readdir(processes)) {
    const int pid = std::atoi(entry->d_name);
    if (pid > 1 && OpenSpaces(pid, record, out)) {
      found = true;
      break;
    }
  }
  closedir(processes);
  return found;
}

Trouble Join(const Spaces& spaces) {
  if (setns(spaces.user.get(), CLONE_NEWUSER) != 0) return Failed("entering the user namespace of cleat");
  if (setns(spaces.mount.get(), CLONE_NEWNS) != 0) return Failed("entering the mount namespace of cleat");
  return {};
}

// The network namespace of containers' outsides has a loopback, which is down in a new one.
bool RaiseLoopback() {
  cleat::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  strncpy(request.ifr_name, "lo", sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  return socket && ioctl(socket.get(), SIOCSIFFLAGS, &request) == 0;
}

// The report of a new holder to the process that waits for it.
void Report(int to, const Trouble& trouble) {
  const std::string text = trouble.message + '\0' + trouble.hint;
  [[maybe_unused]] ssize_t written = write(to, text.data(), text.size());
}

// Describes us, with the namespaces that we are in.
bool Describe(const std::string& directory, Record* out) {
  cleat::UniqueFd user(open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC));
  cleat::UniqueFd mount(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  out->pid = getpid();
  out->directory = directory;
  return user && mount && Identify(user.get(), &out->user_ns) && Identify(mount.get(), &out->mount_ns) &&
         !cleat::ReadStartTime(getpid(), &out->start);
}

// Becomes the holder: nothing but a process in its namespaces.
[[noreturn]] void Hold(int report, const std::string& inside) {
  Record record;
  if (setsid() < 0 || chdir("/") != 0 || !Describe(inside, &record) || !WriteRecord(inside, record)) {
    Report(report, Failed("the process that keeps the namespaces"));
    _exit(EXIT_FAILURE);
  }
  prctl(PR_SET_NAME, "cleat-rootless");
  cleat::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null.get(), fd);
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  Report(report, {});
  syscall(SYS_close_range, 3, ~0U, 0);
  for (;;) pause();
}

// Reads what the new holder reports. It ends without a report if it is killed.
Trouble Hear(int from) {
  std::string text;
  char bytes[512];
  for (;;) {
    ssize_t size = read(from, bytes, sizeof bytes);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(bytes, static_cast<size_t>(size));
  }
  const size_t middle = text.find('\0');
  if (middle == std::string::npos) return {"the process that keeps the namespaces has ended", ""};
  return {text.substr(0, middle), text.substr(middle + 1)};
}

constexpr char kSysctls[] =
    "As root: sysctl -w user.max_user_namespaces=15000, and where these exist, kernel.unprivileged_userns_clone=1 "
    "and kernel.apparmor_restrict_unprivileged_userns=0.";

// Explains a refused unshare(CLONE_NEWUSER).
Trouble NoUserNamespace(int error) {
  const std::string message = std::string("this user may not make a user namespace: ") + strerror(error);
  return {message, error == EINVAL ? "The kernel needs CONFIG_USER_NS." : kSysctls};
}

// Explains a refused unshare(2) in the new user namespace: AppArmor lets a user make one, and takes the rights in it
// away.
Trouble NoRights(int error) {
  const std::string message =
      std::string("this user may make a user namespace, and no other one in it: ") + strerror(error);
  return {message, error == ENOSPC ? "As root: sysctl -w user.max_mnt_namespaces=15000 user.max_net_namespaces=15000"
                                   : kSysctls};
}

// The child of Make. Waits for its ids between the user namespace and the others.
[[noreturn]] void BecomeHolder(const std::string& directory, const std::string& inside, int report, int go) {
  auto fail = [report](const Trouble& trouble) {
    Report(report, trouble);
    _exit(EXIT_FAILURE);
  };
  if (unshare(CLONE_NEWUSER) != 0) fail(NoUserNamespace(errno));
  if (write(report, "u", 1) != 1) _exit(EXIT_FAILURE);
  char byte;
  if (read(go, &byte, 1) != 1) _exit(EXIT_FAILURE);  // the caller gave up, or died
  if (unshare(CLONE_NEWNS | CLONE_NEWNET) != 0) fail(NoRights(errno));
  if (!RaiseLoopback()) fail(Failed("the loopback of the new network namespace"));
  if (Trouble trouble = MakeMounts(directory, inside); !trouble.message.empty()) fail(trouble);
  Hold(report, inside);
}

// Makes the namespaces and their holder.
Trouble Make(const User& user, const std::string& inside, Spaces* out) {
  cleat::Pipe report;
  cleat::Pipe go;
  if (!report.Open() || !go.Open()) return Failed("pipe2");
  pid_t pid = fork();
  if (pid < 0) return Failed("fork");
  if (pid == 0) {
    report.reading.Reset();
    go.writing.Reset();
    BecomeHolder(user.directory, inside, report.writing.get(), go.reading.get());
  }
  report.writing.Reset();
  go.reading.Reset();
  char first;
  Trouble trouble;
  ssize_t size;
  do {
    size = read(report.reading.get(), &first, 1);
  } while (size < 0 && errno == EINTR);
  if (size == 1 && first == 'u') {
    trouble = MapIds(user, pid);
    if (trouble.message.empty() && write(go.writing.get(), "", 1) == 1) trouble = Hear(report.reading.get());
  } else {
    trouble = Hear(report.reading.get());
    if (size == 1) trouble.message.insert(0, 1, first);
  }
  if (trouble.message.empty()) {
    Record record;
    if (ReadRecord(user, &record) && OpenSpaces(pid, record, out)) return {};
    trouble = {"the namespaces of the new process cannot be opened", ""};
  }
  kill(pid, SIGKILL);
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return trouble;
}

// Makes another holder of the namespaces that we are in by now.
Trouble HoldAgain(const std::string& inside) {
  cleat::Pipe report;
  if (!report.Open()) return Failed("pipe2");
  pid_t pid = fork();
  if (pid < 0) return Failed("fork");
  if (pid == 0) {
    report.reading.Reset();
    Hold(report.writing.get(), inside);
  }
  report.writing.Reset();
  return Hear(report.reading.get());
}

}  // namespace

Trouble Enter(const User& user, Place* place) {
  const std::string lock_path = user.directory + "/namespace.lock";
  cleat::UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock || flock(lock.get(), LOCK_EX) != 0) {
    return {lock_path + ": " + strerror(errno),
            "Set XDG_RUNTIME_DIR to a directory of yours with mode 0700, on a tmpfs."};
  }
  Record record;
  Spaces spaces;
  const bool known = ReadRecord(user, &record);
  if (known && FindHolder(record, &spaces)) {
    place->directory = record.directory;
    return Join(spaces);
  }
  if (known && FindOther(record, &spaces)) {
    place->directory = record.directory;
    if (Trouble trouble = Join(spaces); !trouble.message.empty()) return trouble;
    return HoldAgain(record.directory);
  }
  place->directory = InsideOf(user);
  if (Trouble trouble = Make(user, place->directory, &spaces); !trouble.message.empty()) return trouble;
  return Join(spaces);
}

}  // namespace cleat_rootless
