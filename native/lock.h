// lock.h: a lock on a file or directory that ends with the process (index.ts).
//
// Guarantees: the kernel releases the lock (flock(2)) however the holder ends, so no lock outlives a crash.
// Limits: held until the process ends; there is no unlock. Not for NFS.
#pragma once

#include <napi.h>

namespace cleat {

// exports.lockFile, lockDirectory
void RegisterLock(Napi::Env env, Napi::Object exports);

}  // namespace cleat
