// loop-poll.cc: see loop-poll.h.
#include "loop-poll.h"

namespace cleat {

Failure Poll::Start(Napi::Env env, UniqueFd fd, Life life, Ready ready, std::shared_ptr<Poll>* started) {
  std::shared_ptr<Poll> poll(new Poll(env, std::move(fd), std::move(ready)));
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return {EINVAL, "napi_get_uv_event_loop", ""};
  if (int error = uv_poll_init(loop, &poll->handle_, poll->fd())) return {-error, "uv_poll_init", ""};
  poll->handle_.data = poll.get();
  poll->self_ = poll;
  // Cannot fail: uv_poll_init has already tried the descriptor.
  uv_poll_start(&poll->handle_, UV_READABLE, &Poll::Readable);
  if (life == Life::kBackground) uv_unref(reinterpret_cast<uv_handle_t*>(&poll->handle_));
  napi_add_env_cleanup_hook(env, &Poll::StopHook, poll.get());
  *started = std::move(poll);
  return {};
}

void Poll::Readable(uv_poll_t* handle, int status, int) {
  Poll* poll = static_cast<Poll*>(handle->data);
  Napi::HandleScope scope(poll->env_);
  poll->ready_(*poll);
  // A pending error of a socket (ENOBUFS) is read like data, but libuv takes it for the end and has stopped the handle
  // (uv__poll_io).
  if (status < 0 && !poll->stopped()) uv_poll_start(handle, UV_READABLE, &Poll::Readable);
}

void Poll::Stop() {
  if (stopped()) return;
  napi_remove_env_cleanup_hook(env_, &Poll::StopHook, this);
  uv_poll_stop(&handle_);
  // The handle, and with it this object and its descriptor, must outlive the close callback. That is also what lets
  // `ready` stop its own poll.
  handle_.data = new std::shared_ptr<Poll>(std::move(self_));
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
    auto* self = static_cast<std::shared_ptr<Poll>*>(handle->data);
    // Closes the descriptor now, not with the object: JavaScript's stop function holds the object until it is
    // garbage-collected.
    (*self)->fd_ = UniqueFd();
    delete self;
  });
}

void CallBack(Napi::Env env, const Napi::FunctionReference& function, std::initializer_list<napi_value> arguments) {
  function.MakeCallback(env.Global(), arguments);
  if (!env.IsExceptionPending()) return;
  napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

}  // namespace cleat
