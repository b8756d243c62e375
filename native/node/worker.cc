// worker.cc: see worker.h.
#include "worker.h"

#include <pthread.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>

namespace cleat {

Worker::Worker(Napi::Env env, UniqueFd home, Napi::Reference<Napi::Object>& owner, bool stays)
    : env_(env), home_(std::move(home)), stays_(stays), owner_(owner) {
  completions_ = Completions::New(env, "cleat worker", 0, 1, this);
  completions_.Unref(env);
  // Clean-up hooks run last in, first out: this one before the thread-safe function's own, so that the thread is gone
  // before the function that it reports through.
  napi_add_env_cleanup_hook(env, &Worker::StopHook, this);
  // The new thread inherits this mask (pthread_sigmask(3)).
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Worker::~Worker() {
  napi_remove_env_cleanup_hook(env_, &Worker::StopHook, this);
  Stop();
}

void Worker::StopHook(void* worker) {
  static_cast<Worker*>(worker)->Stop();
}

void Worker::Stop() {
  if (!thread_.joinable()) return;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
  completions_.Abort();
}

Napi::Promise Worker::Submit(std::unique_ptr<Job> job) {
  Napi::Promise promise = job->Promise();
  if (pending_++ == 0) {
    completions_.Ref(env_);
    owner_.Ref();
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.push_back(job.release());
  }
  wake_.notify_one();
  return promise;
}

void Worker::ComeHome() {
  if (setns(home_.get(), CLONE_NEWNET) == 0) return;
  perror("cleat: setns back to the outside namespace");
  abort();
}

void Worker::Run() {
  if (!stays_) ComeHome();
  for (;;) {
    Job* job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      job = queue_.front();
      queue_.pop_front();
    }
    job->failure_ = job->Execute(*this);
    if (completions_.BlockingCall(job) != napi_ok) delete job;
  }
}

void Worker::Complete(Napi::Env env, Napi::Function, Worker* worker, Job* raw) {
  std::unique_ptr<Job> job(raw);
  if (env == nullptr) return;
  Napi::HandleScope scope(env);
  if (--worker->pending_ == 0) {
    worker->completions_.Unref(env);
    worker->owner_.Unref();
  }
  if (job->failure_) {
    job->deferred_.Reject(ToError(env, job->failure_).Value());
    return;
  }
  Napi::Value value = job->Resolve(env);
  if (env.IsExceptionPending()) {
    job->deferred_.Reject(env.GetAndClearPendingException().Value());
  } else {
    job->deferred_.Resolve(value);
  }
}

}  // namespace cleat
