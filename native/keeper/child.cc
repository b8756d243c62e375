// child.cc: see child.h.
#include "child.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../pipe.h"
#include "../processes/pidfd.h"
#include "credentials.h"

namespace cleat_keeper {

namespace {

// Above every descriptor number that the program gets (options.cc).
constexpr int kOutOfTheWay = 16;
// In the uplink's directory: the program's working directory, and the only place that it may write to.
constexpr char kOwnDirectory[] = "program";

struct ExecFailure {
  int error;
  char step[28];
};

std::string Why(const std::string& step, int error) {
  return step + ": " + strerror(error);
}

[[noreturn]] void Fail(int report, const char* step) {
  ExecFailure failure{errno, {}};
  strncpy(failure.step, step, sizeof failure.step - 1);
  // A pipe takes this whole or not at all (PIPE_BUF).
  [[maybe_unused]] ssize_t written = write(report, &failure, sizeof failure);
  _exit(127);
}

void Place(int from, int to, int report) {
  if (from >= 0 && to >= 0 && dup2(from, to) < 0) Fail(report, "dup2");
}

int Lift(int fd, int report) {
  if (fd < 0) return -1;
  int lifted = fcntl(fd, F_DUPFD_CLOEXEC, kOutOfTheWay);
  if (lifted < 0) Fail(report, "fcntl(F_DUPFD)");
  return lifted;
}

struct Descriptors {
  int report;
  int go;
  int null;
  int log;
  int exit;
  int ready;
  int netns;
};

// Gives the program its log and its pipes, because it may open them again by /proc/self/fd, and a directory. The
// directory is its group's, so that we can clear it without CAP_DAC_OVERRIDE.
void GiveAway(const Options& options, int directory, const Descriptors& fds) {
  if (mkdirat(directory, kOwnDirectory, 0700) != 0) Fail(fds.report, "mkdir");
  cleat::UniqueFd own(openat(directory, kOwnDirectory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!own || fchdir(own.get()) != 0) Fail(fds.report, "fchdir");
  if (fchown(own.get(), -1, options.group) != 0 || fchmod(own.get(), 0770) != 0) Fail(fds.report, "fchown");
  for (int fd : {fds.log, fds.exit, fds.ready}) {
    if (fd >= 0 && fchown(fd, options.user, options.group) != 0) Fail(fds.report, "fchown");
  }
  // Every process that may search the directory, the program and the daemon, may connect to its API socket.
  umask(0);
}

// Changes from root to a user of its own.
void StepDown(const Options& options, Descriptors* fds) {
  const char* step = OfferTun(options.user);
  if (step == nullptr) step = LimitResources();
  if (step == nullptr && options.netns_fd < 0) {
    step = BecomeUser(options.user, options.group, kToEnterNamespaces);
  } else if (step == nullptr) {
    step = BecomeRootOfOwnNamespace(options.user, options.group);
    if (step == nullptr) step = MakeNetns(&fds->netns);
  }
  if (step != nullptr) Fail(fds->report, step);
}

[[noreturn]] void Become(const Options& options, pid_t keeper, int directory, Descriptors fds) {
  fds.report = fcntl(fds.report, F_DUPFD_CLOEXEC, kOutOfTheWay);
  if (fds.report < 0) _exit(127);
  if (setsid() < 0) Fail(fds.report, "setsid");
  for (int signal : {SIGHUP, SIGINT, SIGPIPE}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);

  char byte;
  ssize_t told;
  do {
    told = read(fds.go, &byte, 1);
  } while (told < 0 && errno == EINTR);
  if (told != 1) _exit(127);  // the keeper gave up, or died

  GiveAway(options, directory, fds);
  // Unshares after GiveAway, because a working directory moves along. An unmount in the new namespace must not reach
  // ours (slirp4netns#153). One of ours must reach the new namespace, or that would hold what is gone.
  if (unshare(CLONE_NEWNS) != 0) Fail(fds.report, "unshare(CLONE_NEWNS)");
  if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Fail(fds.report, "mount");
  StepDown(options, &fds);
  // The kernel clears this when a process changes its user, so it comes after that (prctl(2)).
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail(fds.report, "prctl(PR_SET_PDEATHSIG)");
  if (getppid() != keeper) _exit(127);  // it died before the signal was set
  // Lifts all of them first: the number that one of them has to get may be another one's.
  for (int* fd : {&fds.null, &fds.log, &fds.exit, &fds.ready, &fds.netns}) *fd = Lift(*fd, fds.report);
  // Descriptors that the keeper was given beyond 0 to 2 do not reach the program.
  if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) Fail(fds.report, "close_range");
  Place(fds.null, STDIN_FILENO, fds.report);
  Place(fds.log, STDOUT_FILENO, fds.report);
  Place(fds.log, STDERR_FILENO, fds.report);
  Place(fds.exit, options.exit_fd, fds.report);
  Place(fds.ready, options.ready_fd, fds.report);
  Place(fds.netns, options.netns_fd, fds.report);
  execv(options.program[0], options.program);
  Fail(fds.report, "execve");
}

}  // namespace

std::string Start(const Options& options, int directory, int log, Child* child) {
  cleat::Pipe go;
  cleat::Pipe report;
  cleat::Pipe exit;
  cleat::Pipe ready;
  if (!go.Open() || !report.Open()) return Why("pipe2", errno);
  if (options.exit_fd >= 0 && !exit.Open()) return Why("pipe2", errno);
  if (options.ready_fd >= 0 && !ready.Open()) return Why("pipe2", errno);
  cleat::UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return Why("/dev/null", errno);

  pid_t keeper = getpid();
  pid_t pid = fork();
  if (pid < 0) return Why("fork", errno);
  if (pid == 0) {
    // Closes the other ends: a pipe does not end for the keeper while we hold its end.
    for (cleat::Pipe* pipe : {&go, &exit}) pipe->writing.Reset();
    for (cleat::Pipe* pipe : {&report, &ready}) pipe->reading.Reset();
    Become(options, keeper, directory,
           {report.writing.get(), go.reading.get(), null.get(), log, exit.reading.get(), ready.writing.get(), -1});
  }
  child->process.pid = pid;
  child->go = std::move(go.writing);
  child->error = std::move(report.reading);
  child->exit = std::move(exit.writing);
  child->ready = std::move(ready.reading);
  cleat::Failure failure = cleat::HoldProcess(pid, &child->pidfd, &child->process.start);
  if (!failure) return "";
  kill(pid, SIGKILL);
  return Why(failure.syscall, failure.error);
}

std::string Run(Child* child) {
  // If the child is gone already, the pipe below says so.
  [[maybe_unused]] ssize_t told = write(child->go.get(), "", 1);
  child->go.Reset();
  ExecFailure failure{};
  ssize_t size;
  do {
    size = read(child->error.get(), &failure, sizeof failure);
  } while (size < 0 && errno == EINTR);
  child->error.Reset();
  if (size != static_cast<ssize_t>(sizeof failure)) return "";
  return Why(failure.step, failure.error);
}

}  // namespace cleat_keeper
