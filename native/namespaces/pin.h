// pin.h: network namespaces kept alive by a bind mount, as the Outside's methods netnsCreate, netnsPin, netnsRemove and
// netnsIdentify; and netnsPrepare, which makes one that a descriptor alone keeps alive.
//
// Guarantees: a path is taken with O_EXCL before anything else happens, so two callers never pin over each other. If a
// step fails, the steps before it are undone and nothing is left at the path. Removal is idempotent.
// Limits: the propagation of the parent mount, which the caller decides, determines what other mount namespaces see of
// the mount.
#pragma once

#include <napi.h>

#include "../node/worker.h"

namespace cleat {

Napi::Value NetnsCreate(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsPrepare(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsPin(const Napi::CallbackInfo& info, Worker& worker);
// The same on the calling thread.
Napi::Value NetnsPinNow(const Napi::CallbackInfo& info);
Napi::Value NetnsRemove(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsIdentify(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
