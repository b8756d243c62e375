// netns.cc: see netns.h.
#include "netns.h"

#include <memory>

#include "input.h"
#include "nft.h"
#include "pin.h"
#include "port-probe.h"
#include "rtnl.h"
#include "sysctl.h"
#include "udp-socket.h"

namespace cleat {

Napi::Function Outside::Define(Napi::Env env) {
  return DefineClass(env, "Outside",
                     {
                         InstanceMethod<&Outside::GetIdentity>("identity"),
                         InstanceMethod<&Outside::Forward<NetnsCreate>>("netnsCreate"),
                         InstanceMethod<&Outside::Forward<NetnsPin>>("netnsPin"),
                         InstanceMethod<&Outside::Forward<NetnsRemove>>("netnsRemove"),
                         InstanceMethod<&Outside::Forward<NetnsIdentify>>("netnsIdentify"),
                         InstanceMethod<&Outside::Forward<RtnlNetnsId>>("netnsId"),
                         InstanceMethod<&Outside::Forward<RtnlChange>>("rtnl"),
                         InstanceMethod<&Outside::Forward<RtnlLinks>>("links"),
                         InstanceMethod<&Outside::Forward<RtnlLink>>("link"),
                         InstanceMethod<&Outside::Forward<RtnlAddresses>>("addresses"),
                         InstanceMethod<&Outside::Forward<RtnlRoutes>>("routes"),
                         InstanceMethod<&Outside::Forward<RtnlNeighbours>>("neighbours"),
                         InstanceMethod<&Outside::Forward<RtnlMonitor>>("monitor"),
                         InstanceMethod<&Outside::Forward<SysctlRead>>("sysctlRead"),
                         InstanceMethod<&Outside::Forward<SysctlWrite>>("sysctlWrite"),
                         InstanceMethod<&Outside::Forward<PortProbe>>("portProbe"),
                         InstanceMethod<&Outside::Forward<UdpSocket>>("udpSocket"),
                         InstanceMethod<&Outside::Forward<NftCommit>>("nft"),
                         InstanceMethod<&Outside::Forward<NftTable>>("nftTable"),
                         InstanceMethod<&Outside::Forward<NftElements>>("nftElements"),
                         InstanceMethod<&Outside::Forward<NftMonitor>>("nftMonitor"),
                         InstanceMethod<&Outside::Forward<ConntrackFlush>>("conntrackFlush"),
                     });
}

Outside::Outside(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Outside>(info) {
  if (!info[0].IsExternal()) {
    Napi::TypeError::New(info.Env(), "use openOutside").ThrowAsJavaScriptException();
    return;
  }
  Opened* opened = info[0].As<Napi::External<Opened>>().Data();
  identity_ = opened->identity;
  worker_.emplace(info.Env(), std::move(opened->netns), *this);
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

void RegisterNetns(Napi::Env env, Napi::Object exports) {
  auto constructor = std::make_shared<Napi::FunctionReference>(Napi::Persistent(Outside::Define(env)));
  constructor->SuppressDestruct();
  exports.Set("openOutside", Napi::Function::New(
                                 env,
                                 [constructor](const Napi::CallbackInfo& info) -> Napi::Value {
                                   Input input(info.Env());
                                   // thread-self, not self: the main thread's namespace is what the caller means.
                                   std::string path =
                                       input.OptionalText(info[0], "path").value_or("/proc/thread-self/ns/net");
                                   if (!input.ok()) return input.Throw();
                                   Outside::Opened opened;
                                   Failure failure = OpenNetns(path, &opened.netns);
                                   if (!failure) failure = IdentifyNetns(opened.netns.get(), path, &opened.identity);
                                   if (failure) {
                                     ToError(info.Env(), failure).ThrowAsJavaScriptException();
                                     return info.Env().Undefined();
                                   }
                                   return constructor->New({Napi::External<Outside::Opened>::New(info.Env(), &opened)});
                                 },
                                 "openOutside"));
}

}  // namespace cleat
