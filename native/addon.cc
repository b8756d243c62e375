// addon.cc: the export table of the addon, nothing else. Each Register function lives beside what it exports.
#include <napi.h>

#include "lock.h"
#include "namespaces/netns.h"
#include "processes/exit-watch.h"
#include "processes/process.h"
#include "processes/supervisor.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  cleat::RegisterLock(env, exports);
  cleat::RegisterNetns(env, exports);
  cleat::RegisterProcess(env, exports);
  cleat::RegisterExitWatch(env, exports);
  cleat::RegisterSupervisor(env, exports);
  return exports;
}

NODE_API_MODULE(cleat, Init)
