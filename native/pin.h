// pin.h: network namespaces kept alive by a bind mount, as the Outside's methods netnsCreate, netnsPin, netnsRemove and
// netnsIdentify.
//
// Guarantees: a path is taken with O_EXCL before anything else happens, so two callers never pin over each other; when
// a step fails, the steps before it are undone and nothing is left at the path. Removal is idempotent. Limits: what
// other mount namespaces see of the mount is decided by the propagation of the parent mount, which is the caller's
// business.
#pragma once

#include <napi.h>

#include "worker.h"

namespace cleat {

Napi::Value NetnsCreate(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsPin(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsRemove(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NetnsIdentify(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
