// supervisor.h: what a supervisor gives to the daemon, and hears from it (index.ts, takeSocket and sendDatagram).
//
// Guarantees: nothing here blocks. A socket that was passed is kept from our children. The kernel tells who listens
// which process has sent a datagram, so a supervisor knows that it is of the daemon. Limits: Unix sockets alone, named
// by a path or, with '@' in front, by an abstract name (sd_notify(3)).
#pragma once

#include <napi.h>

namespace cleat {

// exports.takeSocket, sendDatagram
void RegisterSupervisor(Napi::Env env, Napi::Object exports);

}  // namespace cleat
