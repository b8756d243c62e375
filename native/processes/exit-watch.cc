// exit-watch.cc: see exit-watch.h.
#include "exit-watch.h"

#include <sys/epoll.h>

#include <cerrno>
#include <memory>
#include <string>

#include "../node/input.h"
#include "../node/loop-poll.h"
#include "exit-fd.h"
#include "pidfd.h"

namespace cleat {

namespace {

Napi::Value Throw(Napi::Env env, const Failure& failure) {
  ToError(env, failure).ThrowAsJavaScriptException();
  return env.Undefined();
}

const char* NameOf(ExitKind kind) {
  switch (kind) {
    case ExitKind::kPipe:
      return "pipe";
    case ExitKind::kSocket:
      return "socket";
    case ExitKind::kProcess:
      return "process";
    case ExitKind::kWriteEnd:
      return "write end";
    case ExitKind::kUnconnected:
      return "unconnected";
    case ExitKind::kOther:
      break;
  }
  return "other";
}

int ParseFd(Input& input, const Napi::CallbackInfo& info) {
  return static_cast<int>(input.Integer(info[0], "fd", 0, INT32_MAX));
}

Napi::Value Take(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  pid_t pid = static_cast<pid_t>(input.Integer(info[0], "pid", 1, INT32_MAX));
  int number = static_cast<int>(input.Integer(info[1], "fd", 0, INT32_MAX));
  if (!input.ok()) return input.Throw();
  UniqueFd fd;
  int64_t start_time = 0;
  if (Failure failure = TakeDescriptor(pid, number, &fd, &start_time)) return Throw(info.Env(), failure);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("fd", fd.Release());
  object.Set("startTime", static_cast<double>(start_time));
  return object;
}

Napi::Value OpenProcess(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  pid_t pid = static_cast<pid_t>(input.Integer(info[0], "pid", 1, INT32_MAX));
  if (!input.ok()) return input.Throw();
  UniqueFd pidfd;
  int64_t start_time = 0;
  if (Failure failure = HoldProcess(pid, &pidfd, &start_time)) return Throw(info.Env(), failure);
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("fd", pidfd.Release());
  object.Set("startTime", static_cast<double>(start_time));
  return object;
}

Napi::Value Kind(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  int fd = ParseFd(input, info);
  if (!input.ok()) return input.Throw();
  return Napi::String::New(info.Env(), NameOf(KindOf(fd)));
}

Napi::Value HungUp(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  int fd = ParseFd(input, info);
  if (!input.ok()) return input.Throw();
  return Napi::Boolean::New(info.Env(), HasHungUp(fd));
}

Napi::Value Watch(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  int fd = ParseFd(input, info);
  Napi::Function ended = input.Function(info[1], "ended");
  if (!input.ok()) return input.Throw();
  const std::string name = "descriptor " + std::to_string(fd);
  UniqueFd set(epoll_create1(EPOLL_CLOEXEC));
  if (!set) return Throw(info.Env(), {errno, "epoll_create1", name});
  epoll_event event{};
  event.events = static_cast<uint32_t>(EndEvents(fd));
  if (epoll_ctl(set.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Throw(info.Env(), {errno, "epoll_ctl", name});
  auto callback = std::make_shared<Napi::FunctionReference>(Napi::Persistent(ended));
  auto ready = [callback](Poll& poll) {
    poll.Stop();
    CallBack(poll.env(), *callback, {});
  };
  std::shared_ptr<Poll> poll;
  if (Failure failure = Poll::Start(info.Env(), std::move(set), Poll::Life::kKeepsLoopAlive, ready, &poll)) {
    return Throw(info.Env(), failure);
  }
  return Napi::Function::New(
      info.Env(), [poll](const Napi::CallbackInfo&) { poll->Stop(); }, "stop");
}

}  // namespace

void RegisterExitWatch(Napi::Env env, Napi::Object exports) {
  exports.Set("takeDescriptor", Napi::Function::New<Take>(env, "takeDescriptor"));
  exports.Set("openProcess", Napi::Function::New<OpenProcess>(env, "openProcess"));
  exports.Set("descriptorKind", Napi::Function::New<Kind>(env, "descriptorKind"));
  exports.Set("hasHungUp", Napi::Function::New<HungUp>(env, "hasHungUp"));
  exports.Set("watchHangUp", Napi::Function::New<Watch>(env, "watchHangUp"));
}

}  // namespace cleat
