// netns.h: the JavaScript class Outside (index.ts): a network namespace that kernel work is done in.
//
// Guarantees: owns the worker thread of its namespace and everything that thread keeps between jobs. Methods only check
// arguments and queue jobs. It is not collected while a job is queued; when it is, the thread ends first.
// Limits: none of its own; see worker.h.
#pragma once

#include <napi.h>

#include <optional>

#include "nsfile.h"
#include "rtnl-socket.h"
#include "worker.h"

namespace cleat {

class Outside : public Napi::ObjectWrap<Outside> {
 public:
  static Napi::Function Define(Napi::Env env);

  // One argument: an External of Outside::Opened. Only openOutside has one to give.
  explicit Outside(const Napi::CallbackInfo& info);

  Worker& worker() { return *worker_; }

  struct Opened {
    UniqueFd netns;
    Identity identity;
  };

 private:
  using Forwarded = Napi::Value (*)(const Napi::CallbackInfo&, Worker&);
  using RtnlForwarded = Napi::Value (*)(const Napi::CallbackInfo&, Worker&, RtnlSocket&);

  template <Forwarded kMethod>
  Napi::Value Forward(const Napi::CallbackInfo& info) {
    return kMethod(info, *worker_);
  }
  template <RtnlForwarded kMethod>
  Napi::Value Forward(const Napi::CallbackInfo& info) {
    return kMethod(info, *worker_, rtnl_);
  }
  Napi::Value GetIdentity(const Napi::CallbackInfo& info);

  Identity identity_;
  RtnlSocket rtnl_;               // worker thread only
  std::optional<Worker> worker_;  // last: its thread ends before what it uses
};

// { dev, ino }
Napi::Value ToValue(Napi::Env env, const Identity& identity);

// exports.openOutside
void RegisterNetns(Napi::Env env, Napi::Object exports);

}  // namespace cleat
