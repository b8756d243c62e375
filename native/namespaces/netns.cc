// netns.cc: see netns.h.
#include "netns.h"

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <memory>
#include <string>
#include <thread>

#include "../nftables/nft.h"
#include "../node/input.h"
#include "../processes/port-probe.h"
#include "../rtnetlink/neighbour-use.h"
#include "../rtnetlink/rtnl.h"
#include "pin.h"
#include "sysctl.h"
#include "udp-socket.h"

namespace cleat {

Napi::Function Outside::Define(Napi::Env env) {
  return DefineClass(env, "Outside",
                     {
                         InstanceMethod<&Outside::GetIdentity>("identity"),
                         InstanceMethod<&Outside::Close>("close"),
                         InstanceMethod<&Outside::Forward<NetnsCreate>>("netnsCreate"),
                         InstanceMethod<&Outside::Prepare>("netnsPrepare"),
                         InstanceMethod<&Outside::Forward<NetnsPin>>("netnsPin"),
                         InstanceMethod<&Outside::Forward<NetnsRemove>>("netnsRemove"),
                         InstanceMethod<&Outside::Forward<NetnsIdentify>>("netnsIdentify"),
                         InstanceMethod<&Outside::Forward<RtnlNetnsId>>("netnsId"),
                         InstanceMethod<&Outside::Forward<RtnlChange>>("rtnl"),
                         InstanceMethod<&Outside::Forward<RtnlLinks>>("links"),
                         InstanceMethod<&Outside::Forward<RtnlLink>>("link"),
                         InstanceMethod<&Outside::Forward<RtnlAddresses>>("addresses"),
                         InstanceMethod<&Outside::Forward<RtnlRoutes>>("routes"),
                         InstanceMethod<&Outside::Forward<RtnlRules>>("rules"),
                         InstanceMethod<&Outside::Forward<RtnlNeighbours>>("neighbours"),
                         InstanceMethod<&Outside::Forward<RtnlFdb>>("fdb"),
                         InstanceMethod<&Outside::Forward<NeighbourUse>>("neighbourUse"),
                         InstanceMethod<&Outside::Forward<RtnlRoutesOf>>("routesOf"),
                         InstanceMethod<&Outside::Forward<RtnlWayTo>>("wayTo"),
                         InstanceMethod<&Outside::Forward<RtnlMonitor>>("monitor"),
                         InstanceMethod<&Outside::Forward<LinkSwitches>>("linkSwitches"),
                         InstanceMethod<&Outside::Forward<SysctlRead>>("sysctlRead"),
                         InstanceMethod<&Outside::Forward<SysctlWrite>>("sysctlWrite"),
                         InstanceMethod<&Outside::Forward<PortProbe>>("portProbe"),
                         InstanceMethod<&Outside::Forward<UdpSocket>>("udpSocket"),
                         InstanceMethod<&Outside::Forward<NftCommit>>("nft"),
                         InstanceMethod<&Outside::Forward<NftTable>>("nftTable"),
                         InstanceMethod<&Outside::Forward<NftElements>>("nftElements"),
                         InstanceMethod<&Outside::Forward<NftForwardDrops>>("nftForwardDrops"),
                         InstanceMethod<&Outside::Forward<NftMonitor>>("nftMonitor"),
                         InstanceMethod<&Outside::Forget>("conntrackForget"),
                         InstanceMethod<&Outside::Forward<ConntrackUse>>("conntrackUse"),
                         InstanceMethod<&Outside::Limit>("conntrackLimit"),
                     });
}

Outside::Outside(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Outside>(info) {
  if (!info[0].IsExternal()) {
    Napi::TypeError::New(info.Env(), "use openOutside").ThrowAsJavaScriptException();
    return;
  }
  Opened* opened = info[0].As<Napi::External<Opened>>().Data();
  identity_ = opened->identity;
  worker_.emplace(info.Env(), std::move(opened->netns), *this, opened->stays);
  walker_.emplace(info.Env(), std::move(opened->walker_netns), *this, opened->stays);
}

Napi::Value Outside::Close(const Napi::CallbackInfo& info) {
  bool idle = !worker_ || (worker_->idle() && walker_->idle());
  if (idle) {
    worker_.reset();
    walker_.reset();
    rtnl_.Close();
    walker_rtnl_.Close();
  }
  return Napi::Boolean::New(info.Env(), idle);
}

Napi::Value Outside::Closed(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  input.Fail({EBADF, "outside", ""});
  return input.Rejection();
}

Napi::Value Outside::Forget(const Napi::CallbackInfo& info) {
  if (!worker_) return Closed(info);
  return ConntrackForget(info, *walker_, walker_rtnl_);
}

Napi::Value Outside::Limit(const Napi::CallbackInfo& info) {
  if (!worker_) return Closed(info);
  return ConntrackLimit(info, *walker_);
}

Napi::Value Outside::Prepare(const Napi::CallbackInfo& info) {
  if (!worker_) return Closed(info);
  return NetnsPrepare(info, *walker_);
}

Napi::Value Outside::GetIdentity(const Napi::CallbackInfo& info) {
  return ToValue(info.Env(), identity_);
}

Napi::Value ToValue(Napi::Env env, const Identity& identity) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("dev", identity.dev);
  object.Set("ino", identity.ino);
  return object;
}

// Fails if a thread of ours may not enter the namespace: a worker that cannot come back ends the process (worker.h). It
// uses a thread of its own, so that the main thread stays in its namespace.
static Failure TryToEnter(int netns, const std::string& path) {
  int error = 0;
  std::thread([&] { error = setns(netns, CLONE_NEWNET) == 0 ? 0 : errno; }).join();
  return error == 0 ? Failure{} : Failure{error, "setns", path};
}

// thread-self, not self: the caller means the namespace of the calling thread.
static constexpr char kHere[] = "/proc/thread-self/ns/net";

static Failure Open(const std::string& path, bool stays, Outside::Opened* opened) {
  if (Failure failure = OpenAnyNetns(path, &opened->netns)) return failure;
  if (Failure failure = IdentifyNetns(opened->netns.get(), path, &opened->identity)) return failure;
  opened->stays = stays;
  if (!stays) {
    if (Failure failure = TryToEnter(opened->netns.get(), path)) return failure;
  }
  opened->walker_netns.Reset(fcntl(opened->netns.get(), F_DUPFD_CLOEXEC, 0));
  return opened->walker_netns ? Failure{} : Failure{errno, "fcntl", path};
}

void RegisterNetns(Napi::Env env, Napi::Object exports) {
  auto constructor = std::make_shared<Napi::FunctionReference>(Napi::Persistent(Outside::Define(env)));
  constructor->SuppressDestruct();
  auto make = [constructor](Napi::Env env, const std::string& path, bool stays) -> Napi::Value {
    Outside::Opened opened;
    if (Failure failure = Open(path, stays, &opened)) {
      ToError(env, failure).ThrowAsJavaScriptException();
      return env.Undefined();
    }
    return constructor->New({Napi::External<Outside::Opened>::New(env, &opened)});
  };
  exports.Set("openOutside", Napi::Function::New(
                                 env,
                                 [make](const Napi::CallbackInfo& info) -> Napi::Value {
                                   Input input(info.Env());
                                   std::string path = input.OptionalText(info[0], "path").value_or(kHere);
                                   if (!input.ok()) return input.Throw();
                                   return make(info.Env(), path, false);
                                 },
                                 "openOutside"));
  exports.Set("openHere",
              Napi::Function::New(
                  env, [make](const Napi::CallbackInfo& info) -> Napi::Value { return make(info.Env(), kHere, true); },
                  "openHere"));
  exports.Set("pinNetns", Napi::Function::New(env, NetnsPinNow, "pinNetns"));
  exports.Set("expectNetns",
              Napi::Function::New(
                  env,
                  [](const Napi::CallbackInfo& info) -> Napi::Value {
                    Input input(info.Env());
                    std::string path = input.Text(info[0], "path");
                    bool any = info[1].IsNull();
                    Identity identity;
                    if (!any && input.ok()) {
                      constexpr int64_t kMost = int64_t{1} << 53;
                      Napi::Object given = input.Object(info[1], "identity");
                      if (input.ok()) {
                        identity.dev = static_cast<double>(input.Integer(input.Get(given, "dev"), "dev", 0, kMost));
                        identity.ino = static_cast<double>(input.Integer(input.Get(given, "ino"), "ino", 0, kMost));
                      }
                    }
                    if (!input.ok()) return input.Throw();
                    ExpectNetns(path, any ? nullptr : &identity);
                    return info.Env().Undefined();
                  },
                  "expectNetns"));
}

}  // namespace cleat
