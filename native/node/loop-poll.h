// loop-poll.h: calls a function on the event loop when a file descriptor can be read.
//
// Guarantees: the poll owns the descriptor and closes it after the loop has released it. `ready` runs on the event
// loop, may stop its own poll, and is never called after Stop. A pending error of a socket is something to read, not
// the end. When the environment ends, the poll ends with it.
// Limits: readable only. A poll keeps the event loop alive until it is stopped, unless it is started as background.
#pragma once

#include <napi.h>
#include <uv.h>

#include <functional>
#include <memory>

#include "../fd.h"
#include "failure.h"

namespace cleat {

class Poll : public std::enable_shared_from_this<Poll> {
 public:
  using Ready = std::function<void(Poll&)>;
  enum class Life { kKeepsLoopAlive, kBackground };

  // The caller may drop the pointer: the poll goes on until Stop.
  static Failure Start(Napi::Env env, UniqueFd fd, Life life, Ready ready, std::shared_ptr<Poll>* started);
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
  std::shared_ptr<Poll> self_;  // set while polling
};

// Calls a function from outside JavaScript: microtasks run afterwards, an exception is uncaught (as from a timer).
void CallBack(Napi::Env env, const Napi::FunctionReference& function, std::initializer_list<napi_value> arguments);

}  // namespace cleat
