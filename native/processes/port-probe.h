// port-probe.h: finds out which ports are taken, and by which process, as the Outside's method portProbe.
//
// Guarantees: a port that is reported free could be bound at that moment; nothing stays bound. A TCP port in TIME_WAIT
// is free.
// Limits: a port may be taken again before the caller binds it. The holder is found through /proc, so one in another
// pid namespace, or a TCP socket bound but not listening (proc(5): /proc/net/tcp lists none), has no pid and command.
#pragma once

#include <napi.h>

#include "../node/worker.h"

namespace cleat {

Napi::Value PortProbe(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
