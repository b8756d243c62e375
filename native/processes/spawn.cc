// spawn.cc: see spawn.h.
#include "spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "../namespaces/nsfile.h"

namespace cleat {

namespace {

constexpr size_t kStackSize = 64 * 1024;

// The child's report to the parent when it fails. step points to a literal: parent and child share their memory.
struct Report {
  int error;
  int fd;  // the index of the descriptor that it was about, -1 for none
  const char* step;
};

// Everything that the child needs, made before it exists, because the child must not allocate.
struct Child {
  const char* file;
  char* const* argv;
  char* const* envp;
  int* fds;  // written by the child: the sources, then their copies from `count` up
  int count;
  int netns;  // -1 for none
  int report;
  bool own_session;
  bool own_mounts;
  const char* cover;               // empty for nothing
  char* show;                      // written by the child, and put back
  const Confinement* confinement;  // null for none
};

[[noreturn]] void Fail(const Child& child, const char* step, int fd = -1) {
  Report report{errno, fd, step};
  // A pipe takes this whole or not at all (PIPE_BUF). If it fails, the parent sees a child that ended at once.
  [[maybe_unused]] ssize_t written = write(child.report, &report, sizeof report);
  _exit(127);
}

void ResetSignals() {
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  // Signals that cannot be set (SIGKILL, SIGSTOP, the C library's own) fail, and should.
  for (int signal = 1; signal < _NSIG; signal++) sigaction(signal, &standard, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Makes fds[i] descriptor i. It copies twice, because a source may have a number that another one has to get.
void PlaceDescriptors(Child& child) {
  child.report = fcntl(child.report, F_DUPFD_CLOEXEC, child.count);
  if (child.report < 0) _exit(127);
  for (int i = 0; i < child.count; i++) {
    child.fds[i] = fcntl(child.fds[i], F_DUPFD_CLOEXEC, child.count);
    if (child.fds[i] < 0) Fail(child, "fcntl(F_DUPFD)", i);
  }
  for (int i = 0; i < child.count; i++) {
    if (dup2(child.fds[i], i) < 0) Fail(child, "dup2", i);
  }
  if (syscall(SYS_close_range, child.count, ~0U, CLOSE_RANGE_CLOEXEC) != 0) Fail(child, "close_range");
}

void SetLimit(Child& child, decltype(RLIMIT_CORE) resource, rlim_t value, const char* step) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) Fail(child, step);
  limit.rlim_cur = limit.rlim_max = std::min(limit.rlim_max, value);
  if (setrlimit(resource, &limit) != 0) Fail(child, step);
}

void Expect(Child& child, int error, const char* step) {
  errno = error;
  if (error != 0) Fail(child, step);
}

void Confine(Child& child) {
  const Confinement& to = *child.confinement;
  SetLimit(child, RLIMIT_CORE, 0, "setrlimit(RLIMIT_CORE)");
  SetLimit(child, RLIMIT_NOFILE, to.descriptors, "setrlimit(RLIMIT_NOFILE)");
  Expect(child, BoundCapabilities(to.capabilities), "prctl(PR_CAPBSET_DROP)");
  Expect(child, BecomeUser(to.uid, to.gid), "setresuid");
  Expect(child, SetCapabilities(to.capabilities, true), "capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) Fail(child, "prctl(PR_SET_NO_NEW_PRIVS)");
}

// Leaves of a directory what is shown of it. Others may pass through, and list nothing.
void Cover(Child& child) {
  const int shown = static_cast<int>(syscall(SYS_open_tree, AT_FDCWD, child.show, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (shown < 0) Fail(child, "open_tree");
  if (mount("tmpfs", child.cover, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=711,size=64k") != 0) {
    Fail(child, "mount");
  }
  const mode_t mask = umask(0);
  for (char* at = child.show + strlen(child.cover); at != nullptr; at = strchr(at + 1, '/')) {
    *at = '\0';
    const bool made = at[-1] == '/' || mkdir(child.show, 0711) == 0 || errno == EEXIST;
    *at = '/';
    if (!made) Fail(child, "mkdir");
  }
  if (mkdir(child.show, 0711) != 0) Fail(child, "mkdir");
  umask(mask);
  if (syscall(SYS_move_mount, shown, "", AT_FDCWD, child.show, MOVE_MOUNT_F_EMPTY_PATH) != 0) Fail(child, "move_mount");
}

int RunChild(void* argument) {
  Child& child = *static_cast<Child*>(argument);
  ResetSignals();
  if (child.own_session && setsid() < 0) Fail(child, "setsid");
  if (child.netns >= 0 && setns(child.netns, CLONE_NEWNET) != 0) Fail(child, "setns");
  if (child.own_mounts) {
    if (unshare(CLONE_NEWNS) != 0) Fail(child, "unshare");
    if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Fail(child, "mount");
    if (child.cover[0] != '\0') Cover(child);
  }
  PlaceDescriptors(child);
  // Last, so that the program is the first thing that runs with fewer rights.
  if (child.confinement != nullptr) Confine(child);
  execve(child.file, child.argv, child.envp);
  Fail(child, "execve");
}

std::vector<char*> Pointers(const std::vector<std::string>& texts, const std::string* first) {
  std::vector<char*> pointers;
  if (first != nullptr) pointers.push_back(const_cast<char*>(first->c_str()));
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

class Stack {
 public:
  Stack() : base_(mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0)) {}
  ~Stack() {
    if (*this) munmap(base_, kStackSize);
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  explicit operator bool() const { return base_ != MAP_FAILED; }
  void* top() const { return static_cast<char*>(base_) + kStackSize; }

 private:
  void* const base_;
};

// Calls clone(2) as vfork(2) does, but on a stack of its own, so that the child cannot spoil ours. It blocks all
// signals meanwhile: a handler run by the child would act on our memory. A child that changes its user makes that
// memory, and so us, undumpable (commit_creds in kernel/cred.c): this is put back.
pid_t Clone(Child& child, const Stack& stack, UniqueFd* pidfd) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
  int fd = -1;
  pid_t pid = clone(RunChild, stack.top(), CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &child, &fd);
  int error = errno;
  if (child.confinement != nullptr && dumpable == 1) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (pid > 0) pidfd->Reset(fd);
  return pid;
}

}  // namespace

Failure Spawn(const SpawnPlan& plan, pid_t* pid, UniqueFd* pidfd) {
  UniqueFd netns;
  if (!plan.netns.empty()) {
    if (Failure failure = OpenNetns(plan.netns, &netns)) return failure;
  }
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return {errno, "open", "/dev/null"};
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return {errno, "pipe2", plan.file};
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  Stack stack;
  if (!stack) return {errno, "mmap", plan.file};

  std::vector<char*> argv = Pointers(plan.args, &plan.file);
  std::vector<char*> envp = Pointers(plan.environment, nullptr);
  std::vector<int> fds = plan.fds;
  for (int& fd : fds) {
    if (fd == -1) fd = null.get();
  }
  std::string show = plan.show;
  Child child{plan.file.c_str(),
              argv.data(),
              envp.data(),
              fds.data(),
              static_cast<int>(fds.size()),
              netns.get(),
              writing.get(),
              plan.own_session,
              plan.own_mounts,
              plan.cover.c_str(),
              show.data(),
              plan.confinement ? &*plan.confinement : nullptr};
  UniqueFd held;
  pid_t started = Clone(child, stack, &held);
  if (started < 0) return {errno, "clone", plan.file};

  // After our end is closed, the pipe ends with the child's exec. The read waits for that: the child releases our
  // memory, and lets us run, a little before it closes its close-on-exec descriptors (begin_new_exec in fs/exec.c).
  writing.Reset();
  Report report{};
  ssize_t size;
  do {
    size = read(reading.get(), &report, sizeof report);
  } while (size < 0 && errno == EINTR);
  if (size == sizeof report) {
    waitpid(started, nullptr, 0);
    std::string object = report.fd >= 0 ? "fds[" + std::to_string(report.fd) + "]" : plan.file;
    return {report.error, report.step, object};
  }
  *pid = started;
  *pidfd = std::move(held);
  return {};
}

}  // namespace cleat
