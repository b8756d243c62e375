// exit-watch.h: exit-fd.h for JavaScript (index.ts, from takeDescriptor on).
//
// Guarantees: a watch does not make the descriptor non-blocking, as the loop does with what it watches itself: it
// watches an epoll(7) instance that has the descriptor in it. Limits: the descriptor has to stay open for as long as it
// is watched.
#pragma once

#include <napi.h>

namespace cleat {

// exports.takeDescriptor, openProcess, descriptorKind, hasHungUp, watchHangUp
void RegisterExitWatch(Napi::Env env, Napi::Object exports);

}  // namespace cleat
