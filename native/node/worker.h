// worker.h: the thread that does all kernel work for one outside network namespace.
//
// For: keeping blocking system calls off the event loop, and setns/unshare off every thread but ours (they act on the
// calling thread only, setns(2)).
//
// Guarantees:
// - One thread per Worker. It enters its home namespace once and is back in it whenever a job ends. If it cannot come
//   back, it ends the process rather than run the next job in a wrong namespace.
// - Jobs run one at a time, in the order they were submitted. RTNL serialises writers anyway, so a second thread would
//   only wait (measured: no more set-ups per second with 2 threads than with 1).
// - Job::Execute runs on that thread and touches no JavaScript; Job::Resolve runs on the event loop afterwards.
// - A job is never dropped: its promise is settled exactly once, and the worker's owner stays alive until then.
// - The thread takes no signals: the event loop takes them, and no system call here sees EINTR because of one.
//
// Limits: a job that blocks in the kernel blocks its worker. The caller sets deadlines (effects/effect.ts). When the
// JavaScript environment ends, queued jobs still run, their promises do not settle.
#pragma once

#include <napi.h>
#include <sched.h>

#include <cerrno>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "../fd.h"
#include "../nftables/nfnl.h"
#include "failure.h"

namespace cleat {

class Worker;

// One unit of kernel work. Inputs are parsed from JavaScript in the subclass's constructor (event loop), Execute does
// the system calls (worker thread), Resolve builds the answer (event loop).
class Job {
 public:
  explicit Job(Napi::Env env) : deferred_(Napi::Promise::Deferred::New(env)) {}
  virtual ~Job() = default;

  virtual Failure Execute(Worker& worker) = 0;
  virtual Napi::Value Resolve(Napi::Env env) { return env.Undefined(); }

  Napi::Promise Promise() const { return deferred_.Promise(); }

 private:
  friend class Worker;
  Napi::Promise::Deferred deferred_;
  Failure failure_;
};

class Worker {
 public:
  // home: an open network namespace. owner: the JavaScript object this worker belongs to; it is not garbage-collected
  // while jobs are queued. stays: home is the namespace of this process, which we may not enter, and no job leaves it.
  Worker(Napi::Env env, UniqueFd home, Napi::Reference<Napi::Object>& owner, bool stays);
  // Joins the thread; queued jobs finish first.
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Queues a job; its promise settles on the event loop. The event loop stays alive while jobs are queued.
  Napi::Promise Submit(std::unique_ptr<Job> job);

  // True if no job is queued or under way. For the event loop.
  bool idle() const { return pending_ == 0; }

  int home() const { return home_.get(); }
  bool stays() const { return stays_; }
  // The nfnetlink socket of the home namespace, opened when first used. For jobs only (worker thread).
  Nfnl& nfnl() { return nfnl_; }

  // Runs fn inside another network namespace (an open fd) and comes back. For jobs only (worker thread).
  template <typename Fn>
  Failure Inside(int netns, const std::string& object, Fn fn) {
    if (stays_) return {EPERM, "setns", object};
    if (setns(netns, CLONE_NEWNET) != 0) return {errno, "setns", object};
    Failure failure = fn();
    ComeHome();
    return failure;
  }
  // Returns this thread to the home namespace, or ends the process (see the guarantee above).
  void ComeHome();

 private:
  static void Complete(Napi::Env env, Napi::Function, Worker* worker, Job* raw);
  using Completions = Napi::TypedThreadSafeFunction<Worker, Job, &Worker::Complete>;

  static void StopHook(void* worker);

  void Run();
  // Lets the queue run dry, ends the thread, closes the way back to the event loop. Idempotent.
  void Stop();

  const Napi::Env env_;
  const UniqueFd home_;
  const bool stays_;
  Napi::Reference<Napi::Object>& owner_;
  Completions completions_;
  size_t pending_ = 0;      // event loop only
  Nfnl nfnl_{home_.get()};  // worker thread only
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> queue_;  // guarded by mutex_
  bool closing_ = false;    // guarded by mutex_
  std::thread thread_;
};

}  // namespace cleat
