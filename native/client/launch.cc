// launch.cc: see launch.h.
#include "launch.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "../pipe.h"

namespace cleat_client {

namespace {

using cleat::Pipe;
using cleat::UniqueFd;

constexpr const char* kDirectories[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"};
// From an executable in build/Release. A package has a Node of its own (scripts/package.ts).
constexpr const char* kScript = "../../dist/bundle/cleat.cjs";
constexpr const char* kNode = "../../bin/node";
// Above 0 to 2, which become the daemon's own.
constexpr int kOutOfTheWay = 3;
constexpr off_t kMaxWords = 600;

std::string Reason(const std::string& what, int error) {
  return what + ": " + std::strerror(error);
}

// Reads or writes the few bytes of a message, which a pipe takes whole (PIPE_BUF).
template <typename Message>
bool Receive(const UniqueFd& from, Message* out) {
  ssize_t n;
  do {
    n = read(from.get(), out, sizeof *out);
  } while (n < 0 && errno == EINTR);
  return n == static_cast<ssize_t>(sizeof *out);
}

template <typename Message>
void Send(int to, const Message& message) {
  [[maybe_unused]] ssize_t written = write(to, &message, sizeof message);
}

struct Failure {
  int error;
  char step[28];
};

[[noreturn]] void Fail(int report, const char* step) {
  Failure failure{errno, {}};
  std::strncpy(failure.step, step, sizeof failure.step - 1);
  Send(report, failure);
  _exit(127);
}

// The process that becomes the daemon. `go` ends the wait until somebody holds us by a pidfd.
[[noreturn]] void Become(char* const argv[], char* const environment[], int log, int go, int report) {
  char byte;
  ssize_t told;
  do {
    told = read(go, &byte, 1);
  } while (told < 0 && errno == EINTR);
  if (told != 1) _exit(127);  // nobody waits for us any more
  // The numbers of all of them may be below 3: who started us may have closed its own.
  report = fcntl(report, F_DUPFD_CLOEXEC, kOutOfTheWay);
  log = fcntl(log, F_DUPFD_CLOEXEC, kOutOfTheWay);
  if (report < 0 || log < 0) _exit(127);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0) Fail(report, "open /dev/null");
  // dup2 of a descriptor to itself would keep its close-on-exec.
  const int input = fcntl(null, F_DUPFD_CLOEXEC, kOutOfTheWay);
  if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
    Fail(report, "dup2");
  }
  if (syscall(SYS_close_range, kOutOfTheWay, ~0U, CLOSE_RANGE_CLOEXEC) != 0) Fail(report, "close_range");
  if (chdir("/") != 0) Fail(report, "chdir");
  umask(022);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execve(argv[0], argv, environment);
  Fail(report, "execve");
}

// The process between: it leads the session, and ends, so that the daemon can never get a controlling terminal.
[[noreturn]] void Detach(char* const argv[], char* const environment[], int log, int go, int tell, int report) {
  if (setsid() < 0) Fail(report, "setsid");
  const pid_t pid = fork();
  if (pid < 0) Fail(report, "fork");
  if (pid == 0) {
    close(tell);  // it has to end when the process between does
    Become(argv, environment, log, go, report);
  }
  Send(tell, pid);
  _exit(0);
}

std::string Environment(const char* name) {
  const char* value = secure_getenv(name);
  return value == nullptr ? "" : value;
}

bool IsProgram(const std::string& path) {
  struct stat found {};
  return stat(path.c_str(), &found) == 0 && S_ISREG(found.st_mode) && access(path.c_str(), X_OK) == 0;
}

// Where something of the tree is that we are in; nothing if that is unknown.
std::string InOurTree(const char* way) {
  char own[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", own, sizeof own);
  if (size <= 0 || size == static_cast<ssize_t>(sizeof own)) return "";
  const std::string path(own, static_cast<size_t>(size));
  return path.substr(0, path.rfind('/') + 1) + way;
}

std::string FindNode(std::string* out) {
  *out = Environment("CLEAT_NODE");
  if (!out->empty()) return out->front() == '/' ? "" : "CLEAT_NODE is an absolute path, not " + *out;
  *out = InOurTree(kNode);
  if (IsProgram(*out)) return "";
  for (const char* directory : kDirectories) {
    *out = std::string(directory) + "/node";
    if (IsProgram(*out)) return "";
  }
  return "there is no node in /usr/local/bin or /usr/bin: install it, or set CLEAT_NODE to its path";
}

std::string FindScript(std::string* out) {
  *out = Environment("CLEAT_DAEMON");
  if (!out->empty()) return out->front() == '/' ? "" : "CLEAT_DAEMON is an absolute path, not " + *out;
  *out = InOurTree(kScript);
  if (access(out->c_str(), R_OK) == 0) return "";
  return "the script of the daemon is not at " + *out + ": set CLEAT_DAEMON to the path of `cleat`";
}

}  // namespace

std::string FindProgram(Program* out) {
  std::string problem = FindNode(&out->node);
  return problem.empty() ? FindScript(&out->daemon) : problem;
}

std::string Launch(const Program& program, const std::vector<std::string>& arguments, const std::string& log,
                   UniqueFd* pidfd) {
  std::vector<std::string> words{program.node, program.daemon};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::string path = "PATH=";
  for (const char* directory : kDirectories) path += (path.back() == '=' ? "" : ":") + std::string(directory);
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  char* const environment[] = {path.data(), nullptr};

  UniqueFd output(open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!output) return Reason("cannot write " + log, errno);
  Pipe go;
  Pipe tell;
  Pipe report;
  if (!go.Open() || !tell.Open() || !report.Open()) return Reason("pipe2", errno);
  const pid_t between = fork();
  if (between < 0) return Reason("fork", errno);
  if (between == 0) {
    go.writing.Reset();  // it has to end for the daemon when we end
    Detach(argv.data(), environment, output.get(), go.reading.get(), tell.writing.get(), report.writing.get());
  }
  tell.writing.Reset();
  report.writing.Reset();
  pid_t pid = 0;
  const bool told = Receive(tell.reading, &pid);
  while (waitpid(between, nullptr, 0) < 0 && errno == EINTR) continue;
  if (told) {
    // It waits for `go`: the pid cannot be another process's.
    pidfd->Reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
    if (!*pidfd) return Reason("pidfd_open", errno);
    Send(go.writing.get(), '\0');
  }
  go.writing.Reset();
  Failure failure{};
  if (Receive(report.reading, &failure))
    return Reason(std::string(failure.step) + " of " + program.node, failure.error);
  return told ? "" : "the process that starts the daemon was killed";
}

std::string LastWords(const std::string& log) {
  UniqueFd file(open(log.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat found {};
  if (!file || fstat(file.get(), &found) != 0) return "";
  std::string text(static_cast<size_t>(std::min(found.st_size, kMaxWords)), '\0');
  const ssize_t size = pread(file.get(), text.data(), text.size(), std::max<off_t>(found.st_size - kMaxWords, 0));
  text.resize(static_cast<size_t>(std::max<ssize_t>(size, 0)));
  // The first line may be cut.
  if (found.st_size > kMaxWords) text.erase(0, std::min(text.find('\n'), text.size() - 1) + 1);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

}  // namespace cleat_client
