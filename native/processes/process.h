// process.h: identifies, starts, signals and watches other processes (index.ts, from peerCredentials on).
//
// Guarantees: a process is always named by pid and start time, and held by a pidfd during every operation on it, so a
// reused pid is never mistaken for it. A child started here never stays a zombie, watched or not.
// Limits: needs pidfd_open (Linux 5.3) and close_range with CLOSE_RANGE_CLOEXEC (5.11). A child that ends while the
// event loop is busy is a zombie until the loop turns.
#pragma once

#include <napi.h>

namespace cleat {

// exports.peerCredentials, spawn, become, listenUnix, openPipe, processStartTime, watchProcess, signalProcess,
// openProcessNetns
void RegisterProcess(Napi::Env env, Napi::Object exports);

}  // namespace cleat
