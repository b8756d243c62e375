// netns.h: the JavaScript class Outside (index.ts): a network namespace that kernel work is done in.
//
// Guarantees: owns the worker threads of its namespace and everything that they keep between jobs. Methods only check
// arguments and queue jobs. An Outside is not garbage-collected while a job is queued; when it is, its threads end
// first.
// Limits: none of its own; see worker.h.
#pragma once

#include <napi.h>

#include <optional>

#include "../node/input.h"
#include "../node/worker.h"
#include "../rtnetlink/rtnl-socket.h"
#include "nsfile.h"

namespace cleat {

class Outside : public Napi::ObjectWrap<Outside> {
 public:
  static Napi::Function Define(Napi::Env env);

  // Takes one argument: an External of Outside::Opened, which only openOutside makes.
  explicit Outside(const Napi::CallbackInfo& info);

  Worker& worker() { return *worker_; }

  struct Opened {
    UniqueFd walker_netns;  // the same namespace once more, for the second thread
    bool stays = false;     // Worker
    UniqueFd netns;
    Identity identity;
  };

 private:
  using Forwarded = Napi::Value (*)(const Napi::CallbackInfo&, Worker&);
  using RtnlForwarded = Napi::Value (*)(const Napi::CallbackInfo&, Worker&, RtnlSocket&);

  template <Forwarded kMethod>
  Napi::Value Forward(const Napi::CallbackInfo& info) {
    if (!worker_) return Closed(info);
    return kMethod(info, *worker_);
  }
  template <RtnlForwarded kMethod>
  Napi::Value Forward(const Napi::CallbackInfo& info) {
    if (!worker_) return Closed(info);
    return kMethod(info, *worker_, rtnl_);
  }
  Napi::Value GetIdentity(const Napi::CallbackInfo& info);
  // Ends the threads and closes the namespace. Returns false, and does nothing, while a job is queued.
  Napi::Value Close(const Napi::CallbackInfo& info);
  // Returns the rejection (EBADF) of a call on an Outside that is closed.
  static Napi::Value Closed(const Napi::CallbackInfo& info);
  Napi::Value Forget(const Napi::CallbackInfo& info);
  Napi::Value Limit(const Napi::CallbackInfo& info);
  Napi::Value Prepare(const Napi::CallbackInfo& info);

  Identity identity_;
  RtnlSocket rtnl_;         // worker thread only
  RtnlSocket walker_rtnl_;  // walker thread only
  // Last, so that their threads end before what they use. Walking through connection tracking takes longer than all
  // other work here, so it has a thread of its own, which also makes prepared namespaces: nobody waits for those.
  std::optional<Worker> worker_;
  std::optional<Worker> walker_;
};

// { dev, ino }
Napi::Value ToValue(Napi::Env env, const Identity& identity);

// exports.openOutside, openHere, pinNetns, expectNetns
void RegisterNetns(Napi::Env env, Napi::Object exports);

}  // namespace cleat
