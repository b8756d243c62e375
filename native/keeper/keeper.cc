// cleat-keeper: the parent of one program that is a container's way out (slirp4netns, pasta), for as long as the
// program lives.
//
//   cleat-keeper --directory DIR --user UID:GID [--netns-fd N] [--bound-pid PID --bound-start TICKS]
//                [--bound-fd N] [--exit-fd N] [--ready-fd N --ready-ms MS] -- PROGRAM [ARGUMENT...]
//
// It outlives the daemon that started it, and ends with the program. DIR holds `keeper` (its pid and start time, the
// claim) and `status` (status.h), and `program/`, which is the program's own and its working directory.
//
// Guarantees:
// - One keeper per DIR: the claim is made exclusively, in a directory that is there. A process that wants the program
//   gone takes the directory's name away first, and a keeper that comes too late starts nothing.
// - No program without its pid on disk. It ends with the keeper (child.h), with the bound process, with the other end
//   of the bound descriptor, if it is not ready in time, and on SIGTERM: it gets SIGTERM first, and is killed after
//   kGraceMs. Its process group goes with it.
// - Once the program is forked off, the keeper has CAP_KILL and the system calls of system-calls.h, and nothing else of
//   root (rights.cc). The program has the rights that it was forked off with.
// - The keeper never checks again and again: it waits in one poll(2) on descriptors and one deadline.
// Limits: a program that leaves its process group and its session is not followed. A stopped keeper (SIGSTOP) notices
// nothing, and does not bound the log.
// Exit: 0 the program was run and has ended (the status says how), 1 it was not run, 2 usage.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../printable.h"
#include "../processes/exit-fd.h"
#include "../processes/pidfd.h"
#include "child.h"
#include "credentials.h"
#include "log.h"
#include "options.h"
#include "process.h"
#include "rights.h"
#include "status.h"

namespace cleat_keeper {

namespace {

constexpr int kUsage = 2;
// The time from the request to end (slirp4netns takes 32 ms) to the kill.
constexpr int64_t kGraceMs = 1000;
constexpr int64_t kNever = INT64_MAX;
constexpr char kClaim[] = "keeper";

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

int Complain(const std::string& what, int code = EXIT_FAILURE) {
  std::fprintf(stderr, "cleat-keeper: %s\n", cleat::Printable(what).c_str());
  return code;
}

// The file is whole from the moment that it has its name: a process that wants us gone reads it once.
bool Claim(int directory, const Process& self) {
  std::string draft = std::string(kClaim) + "." + std::to_string(self.pid);
  cleat::UniqueFd file(openat(directory, draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return false;
  std::string text = std::to_string(self.pid) + " " + std::to_string(self.start) + "\n";
  ssize_t written = write(file.get(), text.data(), text.size());
  bool good = written == static_cast<ssize_t>(text.size());
  if (!good && written >= 0) errno = ENOSPC;
  good = good && linkat(directory, draft.c_str(), directory, kClaim, 0) == 0;
  int error = errno;
  unlinkat(directory, draft.c_str(), 0);
  errno = error;
  return good;
}

// Returns SIGTERM as a descriptor. Ignores the signals of terminals and of broken pipes.
cleat::UniqueFd Signals() {
  for (int signal : {SIGHUP, SIGINT, SIGPIPE}) ::signal(signal, SIG_IGN);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  sigprocmask(SIG_SETMASK, &term, nullptr);
  return cleat::UniqueFd(signalfd(-1, &term, SFD_CLOEXEC | SFD_NONBLOCK));
}

class Keeper {
 public:
  explicit Keeper(const Options& options) : options_(options) {}

  // Returns the exit code.
  int Keep();

 private:
  std::string Prepare();
  void Watch();
  void SeeReady();
  void AskToEnd(const char* cause);
  void Reap();
  bool Save() { return Write(directory_.get(), status_); }
  void SaveEnd();

  const Options& options_;
  Status status_;
  Log log_;
  Child child_;
  cleat::UniqueFd directory_;
  cleat::UniqueFd signals_;
  cleat::UniqueFd bound_;
  cleat::UniqueFd bound_fd_;
  short bound_events_ = 0;
  int64_t started_ = 0;
  int64_t deadline_ = kNever;  // for being ready; once asked to end, for ending
  bool asked_ = false;
};

std::string Keeper::Prepare() {
  // First of all: a number that is not open would be that of something of our own later.
  if (options_.bound_fd >= 0) {
    if (fcntl(options_.bound_fd, F_GETFD) < 0) return "descriptor " + std::to_string(options_.bound_fd) + ": not open";
    bound_fd_.Reset(options_.bound_fd);
    bound_events_ = cleat::EndEvents(bound_fd_.get());
  }
  directory_.Reset(open(options_.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!directory_) return options_.directory + ": " + strerror(errno);
  signals_ = Signals();
  if (!signals_) return std::string("signalfd: ") + strerror(errno);
  status_.keeper.pid = getpid();
  if (cleat::Failure failure = cleat::ReadStartTime(getpid(), &status_.keeper.start)) {
    return failure.object + ": " + strerror(failure.error);
  }
  if (!Claim(directory_.get(), status_.keeper)) return options_.directory + "/" + kClaim + ": " + strerror(errno);
  return "";
}

int Keeper::Keep() {
  if (std::string problem = Prepare(); !problem.empty()) return Complain(problem);
  if (!log_.Open(directory_.get())) {
    status_.error = std::string("failed to open log file: ") + strerror(errno);
  } else {
    status_.log = log_.fd();
    status_.error = Start(options_, directory_.get(), log_.fd(), &child_);
    status_.child = child_.process;
  }
  if (status_.error.empty()) {
    if (cleat::Failure failure = DropRights()) status_.error = failure.syscall + ": " + strerror(failure.error);
  }
  // The program's pid is on disk before it is run.
  if (status_.error.empty() && !Save()) status_.error = std::string("status: ") + strerror(errno);
  if (status_.error.empty() && options_.bound_pid != 0) {
    cleat::Failure failure = cleat::HoldProcessOf(options_.bound_pid, options_.bound_start, &bound_);
    if (failure.error == ESRCH) {
      status_.error = failure.object + " has ended";
    } else if (failure) {
      status_.error = failure.syscall + " " + failure.object + ": " + strerror(failure.error);
    }
  }
  if (status_.error.empty() && bound_fd_ && cleat::HasHungUp(bound_fd_.get())) {
    status_.error = "descriptor " + std::to_string(options_.bound_fd) + " has ended";
  }
  started_ = Now();
  bool run = status_.error.empty();
  if (run) status_.error = Run(&child_);
  run = status_.error.empty();
  if (run && options_.ready_fd >= 0) deadline_ = started_ + options_.ready_ms;
  if (run && options_.ready_fd < 0) {
    status_.state = "ready";
    status_.ready_ms = 0;
    Save();
  }
  if (run) Watch();
  child_.go.Reset();  // a child that still waits for it ends
  Reap();
  SaveEnd();
  return run ? EXIT_SUCCESS : EXIT_FAILURE;
}

// Waits until the program has ended.
void Keeper::Watch() {
  for (;;) {
    // poll(2) ignores a negative descriptor.
    pollfd fds[] = {{child_.pidfd.get(), POLLIN, 0}, {child_.ready.get(), POLLIN, 0},
                    {bound_.get(), POLLIN, 0},       {signals_.get(), POLLIN, 0},
                    {log_.changes(), POLLIN, 0},     {bound_fd_.get(), bound_events_, 0}};
    int64_t left = deadline_ == kNever ? -1 : deadline_ - Now();
    if (deadline_ != kNever && left < 0) left = 0;
    int ready = poll(fds, sizeof fds / sizeof *fds, left > INT_MAX ? INT_MAX : static_cast<int>(left));
    if (ready < 0 && errno != EINTR) return;
    if (fds[4].revents != 0) log_.Bound();
    if (fds[1].revents != 0) SeeReady();
    if (fds[0].revents != 0) return;
    if (fds[2].revents != 0) {
      bound_.Reset();
      AskToEnd("bound");
    }
    if (fds[5].revents != 0) {
      bound_fd_.Reset();
      AskToEnd("bound");
    }
    if (fds[3].revents != 0) {
      signalfd_siginfo info{};
      while (read(signals_.get(), &info, sizeof info) > 0) {
      }
      AskToEnd("told");
    }
    if (deadline_ == kNever || Now() < deadline_) continue;
    if (asked_) return;
    AskToEnd("deadline");
  }
}

// Any byte that the program writes means that it is ready (B55). An end without one means nothing: its exit will say
// more.
void Keeper::SeeReady() {
  char bytes[64];
  ssize_t size = read(child_.ready.get(), bytes, sizeof bytes);
  child_.ready.Reset();
  if (size <= 0 || asked_) return;
  deadline_ = kNever;
  status_.state = "ready";
  status_.ready_ms = Now() - started_;
  status_.output = log_.Tail();
  Save();
}

void Keeper::AskToEnd(const char* cause) {
  if (asked_) return;
  asked_ = true;
  status_.cause = cause;
  deadline_ = Now() + kGraceMs;
  child_.exit.Reset();
  syscall(SYS_pidfd_send_signal, child_.pidfd.get(), SIGTERM, nullptr, 0);
}

void Keeper::Reap() {
  pid_t pid = child_.process.pid;
  if (pid == 0) return;
  // The child is ours until it is waited for, and so is the number of its group.
  kill(pid, SIGKILL);
  kill(-pid, SIGKILL);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED) != 0 && errno == EINTR) {
  }
  if (info.si_code == CLD_EXITED)
    status_.code = info.si_status;
  else
    status_.signal = info.si_status;
}

// The process that found us by the directory may have removed it: then nobody is left to read this.
void Keeper::SaveEnd() {
  status_.state = "ended";
  if (log_.fd() >= 0) status_.output = log_.Tail();
  status_.log = -1;
  Save();
}

}  // namespace

}  // namespace cleat_keeper

int main(int argc, char** argv) {
  using namespace cleat_keeper;
  Options options;
  if (std::string problem = ParseOptions(argc, argv, &options); !problem.empty()) return Complain(problem, kUsage);
  setsid();  // fails if the process that started us did it already
  umask(0077);
  return Keeper(options).Keep();
}
