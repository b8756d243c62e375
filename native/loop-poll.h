// loop-poll.h: being told on the event loop that a file descriptor can be read.
//
// Guarantees: the descriptor is owned and closed after the loop has let go of it. `ready` runs on the event loop, may
// stop its own poll, and is never called after Stop. An error that waits in a socket is something to read, not the end.
// When the environment ends, the poll ends with it.
// Limits: readable only. A poll keeps the event loop alive until it is stopped, unless it is started as background.
#pragma once

#include <napi.h>
#include <uv.h>

#include <functional>
#include <memory>

#include "failure.h"
#include "fd.h"

namespace cleat {

class Poll : public std::enable_shared_from_this<Poll> {
 public:
  using Ready = std::function<void(Poll&)>;
  enum class Life { kKeepsLoopAlive, kBackground };

  // The handle may be dropped: the poll goes on until Stop.
  static Failure Start(Napi::Env env, UniqueFd fd, Life life, Ready ready, std::shared_ptr<Poll>* poll);
  void Stop();

  bool stopped() const { return self_ == nullptr; }
  int fd() const { return fd_.get(); }
  Napi::Env env() const { return env_; }

 private:
  Poll(Napi::Env env, UniqueFd fd, Ready ready) : env_(env), fd_(std::move(fd)), ready_(std::move(ready)) {}
  static void Readable(uv_poll_t* handle, int status, int events);
  static void StopHook(void* poll) { static_cast<Poll*>(poll)->Stop(); }

  const Napi::Env env_;
  UniqueFd fd_;
  Ready ready_;
  uv_poll_t handle_{};
  std::shared_ptr<Poll> self_;  // while polling
};

// Call a function from outside JavaScript: microtasks run afterwards, an exception is uncaught (as from a timer).
void CallBack(Napi::Env env, const Napi::FunctionReference& function, std::initializer_list<napi_value> arguments);

}  // namespace cleat
