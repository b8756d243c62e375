// process.cc: see process.h.
#include "process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "../namespaces/nsfile.h"
#include "../node/input.h"
#include "../node/loop-poll.h"
#include "pidfd.h"
#include "spawn.h"

namespace cleat {

namespace {

constexpr int64_t kMaxSafeInteger = (int64_t{1} << 53) - 1;
// The kernel's P_PIDFD (waitid(2)); an enumerator in newer C libraries, missing from older ones.
constexpr auto kWaitPidfd = static_cast<idtype_t>(3);

Napi::Value Throw(Napi::Env env, const Failure& failure) {
  ToError(env, failure).ThrowAsJavaScriptException();
  return env.Undefined();
}

// The children that were started here and are not reaped yet. Only these may be waited for: a status taken from one of
// libuv's children is an exit event that libuv never reports. A pid in here cannot be reused.
class Children {
 public:
  void Add(pid_t pid) {
    std::lock_guard<std::mutex> lock(mutex_);
    pids_.insert(pid);
  }
  // Returns how the child ended, unless it has been reaped before.
  std::optional<siginfo_t> Reap(pid_t pid, int pidfd) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (pids_.count(pid) == 0) return std::nullopt;
    siginfo_t end{};
    int result = waitid(kWaitPidfd, static_cast<id_t>(pidfd), &end, WEXITED | WNOHANG);
    if (result == 0 || errno == ECHILD) pids_.erase(pid);
    return result == 0 ? std::optional(end) : std::nullopt;
  }

 private:
  std::mutex mutex_;  // an environment per worker thread is possible
  std::set<pid_t> pids_;
};

Children& OurChildren() {
  static Children* children = new Children;  // never destroyed: polls may outlive static destructors' order
  return *children;
}

struct Process {
  pid_t pid;
  int64_t start_time;
};

// The first two arguments of watchProcess and signalProcess.
Process ParseProcess(Input& input, const Napi::CallbackInfo& info) {
  return {static_cast<pid_t>(input.Integer(info[0], "pid", 1, INT32_MAX)),
          input.Integer(info[1], "startTime", 0, kMaxSafeInteger)};
}

Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  int fd = static_cast<int>(input.Integer(info[0], "fd", 0, INT32_MAX));
  if (!input.ok()) return input.Throw();
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return Throw(info.Env(), {errno, "getsockopt(SO_PEERCRED)", "fd " + std::to_string(fd)});
  }
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("pid", peer.pid);
  object.Set("uid", peer.uid);
  object.Set("gid", peer.gid);
  return object;
}

// The capabilities that a program of ours may be started with, by the names that TypeScript uses.
constexpr struct {
  const char* name;
  int number;
} kCapabilities[] = {{"NET_BIND_SERVICE", CAP_NET_BIND_SERVICE}, {"NET_ADMIN", CAP_NET_ADMIN}, {"KILL", CAP_KILL}};

Capabilities ParseCapabilities(Input& input, Napi::Object from) {
  Capabilities bits = 0;
  for (const std::string& text : input.Texts(input.Get(from, "capabilities"), "capabilities")) {
    auto known = std::find_if(std::begin(kCapabilities), std::end(kCapabilities),
                              [&](const auto& capability) { return text == capability.name; });
    if (known == std::end(kCapabilities)) {
      input.Invalid("capset", text);
    } else {
      bits |= CapabilityBit(known->number);
    }
  }
  return bits;
}

std::optional<Confinement> ParseConfinement(Input& input, Napi::Value value) {
  if (value.IsUndefined()) return std::nullopt;
  Napi::Object from = input.Object(value, "confinement");
  // -1 would mean "as it was" (setresuid(2)).
  return Confinement{input.Uint(from, "uid", UINT32_MAX - 1), input.Uint(from, "gid", UINT32_MAX - 1),
                     ParseCapabilities(input, from), input.Uint(from, "descriptors")};
}

SpawnPlan ParseSpawn(Input& input, Napi::Object from) {
  SpawnPlan plan;
  plan.file = input.Text(from, "file");
  if (plan.file.empty() || plan.file[0] != '/') input.Invalid("execve", plan.file);
  plan.args = input.Texts(input.Get(from, "args"), "args");
  for (const auto& [name, value] : input.Pairs(input.Get(from, "env"), "env")) {
    if (name.empty() || name.find('=') != std::string::npos) input.Invalid("execve", name);
    plan.environment.push_back(name + "=" + value);
  }
  for (Napi::Value fd : input.Items(input.Get(from, "fds"), "fds")) {
    plan.fds.push_back(static_cast<int>(input.Integer(fd, "fds", -1, INT32_MAX)));
  }
  plan.own_session = input.OptionalFlag(from, "ownSession").value_or(false);
  plan.own_mounts = input.OptionalFlag(from, "ownMounts").value_or(false);
  plan.cover = input.OptionalText(from, "cover").value_or("");
  plan.show = input.OptionalText(from, "show").value_or("");
  const bool below = plan.show.size() > plan.cover.size() && plan.show.compare(0, plan.cover.size(), plan.cover) == 0 &&
                     plan.show[plan.cover.size()] == '/';
  if (!plan.cover.empty() && (!plan.own_mounts || !below)) input.Invalid("mount", plan.cover);
  std::optional<std::string> netns = input.OptionalText(from, "netns");
  if (netns && netns->empty()) input.Invalid("open", "netns");
  plan.netns = netns.value_or("");
  plan.confinement = ParseConfinement(input, input.Get(from, "confinement"));
  return plan;
}

// Calls the function of a spawn with the exit status, or with null and the number of the signal.
void TellEnd(Napi::Env env, const Napi::FunctionReference& ended, const std::optional<siginfo_t>& end) {
  Napi::Value nothing = env.Null();
  bool exited = end && end->si_code == CLD_EXITED;
  Napi::Value status = end ? Napi::Number::New(env, end->si_status) : nothing;
  CallBack(env, ended, {exited ? status : nothing, exited ? nothing : status});
}

Napi::Value SpawnChild(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  SpawnPlan plan = ParseSpawn(input, input.Object(info[0], "options"));
  std::shared_ptr<Napi::FunctionReference> ended;
  if (!info[1].IsUndefined()) {
    ended = std::make_shared<Napi::FunctionReference>(Napi::Persistent(input.Function(info[1], "ended")));
  }
  if (!input.ok()) return input.Throw();
  pid_t pid;
  UniqueFd pidfd;
  if (Failure failure = Spawn(plan, &pid, &pidfd)) return Throw(info.Env(), failure);
  OurChildren().Add(pid);
  // The child is not reaped yet, so it is still in /proc, whatever became of it.
  int64_t start_time = 0;
  Failure failure = ReadStartTime(pid, &start_time);
  auto reap = [pid, ended](Poll& poll) {
    std::optional<siginfo_t> end = OurChildren().Reap(pid, poll.fd());
    poll.Stop();
    if (ended) TellEnd(poll.env(), *ended, end);
  };
  std::shared_ptr<Poll> poll;
  Poll::Life life = ended ? Poll::Life::kKeepsLoopAlive : Poll::Life::kBackground;
  if (!failure) failure = Poll::Start(info.Env(), std::move(pidfd), life, reap, &poll);
  if (failure) {
    // A child that nobody could hold on to must not be left running.
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return Throw(info.Env(), failure);
  }
  Napi::Object child = Napi::Object::New(info.Env());
  child.Set("pid", pid);
  child.Set("startTime", static_cast<double>(start_time));
  return child;
}

// Node ignores SIGPIPE, which a program would keep (execve(2)), and has every descriptor that it was started with
// closed for its children.
Napi::Value Become(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  std::string file = input.Text(info[0], "file");
  std::vector<std::string> words = input.Texts(info[1], "args");
  std::vector<std::string> environment;
  for (const auto& [name, value] : input.Pairs(info[2], "env")) environment.push_back(name + "=" + value);
  const int kept = static_cast<int>(input.Integer(info[3], "kept", 0, 1024));
  if (!input.ok()) return input.Throw();
  for (int fd = 0; fd < kept; fd++) fcntl(fd, F_SETFD, 0);
  words.insert(words.begin(), file);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> all;
    all.reserve(texts.size() + 1);
    for (std::string& text : texts) all.push_back(text.data());
    all.push_back(nullptr);
    return all;
  };
  signal(SIGPIPE, SIG_DFL);
  execve(file.c_str(), pointers(words).data(), pointers(environment).data());
  const int error = errno;
  signal(SIGPIPE, SIG_IGN);
  return Throw(info.Env(), {error, "execve", file});
}

Napi::Value OpenPipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Throw(info.Env(), {errno, "pipe2", "pipe"});
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("reading", ends[0]);
  object.Set("writing", ends[1]);
  return object;
}

Napi::Value ListenUnix(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  const std::string path = input.Text(info[0], "path");
  const auto mode = static_cast<mode_t>(input.Integer(info[1], "mode", 0, 0777));
  if (!input.ok()) return input.Throw();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Throw(info.Env(), {ENAMETOOLONG, "bind", path});
  path.copy(static_cast<char*>(address.sun_path), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Throw(info.Env(), {errno, "socket", path});
  // The file gets the mode of the socket (unix_bind): there is no moment at which it has another one.
  if (fchmod(fd.get(), mode) != 0) return Throw(info.Env(), {errno, "fchmod", path});
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Throw(info.Env(), {errno, "bind", path});
  }
  if (listen(fd.get(), SOMAXCONN) != 0) return Throw(info.Env(), {errno, "listen", path});
  return Napi::Number::New(info.Env(), fd.Release());
}

Napi::Value ProcessStartTime(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  pid_t pid = static_cast<pid_t>(input.Integer(info[0], "pid", 1, INT32_MAX));
  if (!input.ok()) return input.Throw();
  UniqueFd pidfd;
  int64_t start_time = 0;
  if (Failure failure = HoldProcess(pid, &pidfd, &start_time)) return Throw(info.Env(), failure);
  return Napi::Number::New(info.Env(), static_cast<double>(start_time));
}

Napi::Value WatchProcess(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  Process process = ParseProcess(input, info);
  Napi::Function exited = input.Function(info[2], "exited");
  if (!input.ok()) return input.Throw();
  UniqueFd pidfd;
  if (Failure failure = HoldProcessOf(process.pid, process.start_time, &pidfd)) return Throw(info.Env(), failure);
  auto callback = std::make_shared<Napi::FunctionReference>(Napi::Persistent(exited));
  auto ready = [pid = process.pid, callback](Poll& poll) {
    OurChildren().Reap(pid, poll.fd());
    poll.Stop();
    CallBack(poll.env(), *callback, {});
  };
  std::shared_ptr<Poll> poll;
  if (Failure failure = Poll::Start(info.Env(), std::move(pidfd), Poll::Life::kKeepsLoopAlive, ready, &poll)) {
    return Throw(info.Env(), failure);
  }
  return Napi::Function::New(
      info.Env(), [poll](const Napi::CallbackInfo&) { poll->Stop(); }, "stop");
}

Napi::Value SignalProcess(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  Process process = ParseProcess(input, info);
  int signal = static_cast<int>(input.Integer(info[2], "signal", 0, 64));
  if (!input.ok()) return input.Throw();
  UniqueFd pidfd;
  if (Failure failure = HoldProcessOf(process.pid, process.start_time, &pidfd)) return Throw(info.Env(), failure);
  if (syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) != 0) {
    return Throw(info.Env(), {errno, "pidfd_send_signal", ProcessName(process.pid)});
  }
  return info.Env().Undefined();
}

Napi::Value OpenProcessNetns(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  pid_t pid = static_cast<pid_t>(input.Integer(info[0], "pid", 1, INT32_MAX));
  if (!input.ok()) return input.Throw();
  UniqueFd pidfd;
  int64_t start_time = 0;
  if (Failure failure = HoldProcess(pid, &pidfd, &start_time)) return Throw(info.Env(), failure);
  UniqueFd netns;
  Failure failure = OpenNetns("/proc/" + std::to_string(pid) + "/ns/net", &netns);
  // If the process is alive after the path was followed, the namespace is its own. A process that is about to end gives
  // ENOENT.
  if (HasEnded(pidfd.get()) || failure.error == ENOENT) failure = {ESRCH, "open", ProcessName(pid)};
  if (failure) return Throw(info.Env(), failure);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("fd", netns.Release());
  object.Set("startTime", static_cast<double>(start_time));
  return object;
}

}  // namespace

void RegisterProcess(Napi::Env env, Napi::Object exports) {
  exports.Set("peerCredentials", Napi::Function::New<PeerCredentials>(env, "peerCredentials"));
  exports.Set("spawn", Napi::Function::New<SpawnChild>(env, "spawn"));
  exports.Set("become", Napi::Function::New<Become>(env, "become"));
  exports.Set("listenUnix", Napi::Function::New<ListenUnix>(env, "listenUnix"));
  exports.Set("openPipe", Napi::Function::New<OpenPipe>(env, "openPipe"));
  exports.Set("processStartTime", Napi::Function::New<ProcessStartTime>(env, "processStartTime"));
  exports.Set("watchProcess", Napi::Function::New<WatchProcess>(env, "watchProcess"));
  exports.Set("signalProcess", Napi::Function::New<SignalProcess>(env, "signalProcess"));
  exports.Set("openProcessNetns", Napi::Function::New<OpenProcessNetns>(env, "openProcessNetns"));
}

}  // namespace cleat
