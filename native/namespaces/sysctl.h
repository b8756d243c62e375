// sysctl.h: reading and writing /proc/sys, as the Outside's methods sysctlRead and sysctlWrite.
//
// Guarantees: keys cannot leave /proc/sys. The keys under net/ belong to the network namespace that the thread is in
// (net_ctl_header_lookup in net/sysctl_net.c goes by the calling task, not by the mount).
// Our own switches are written through a procfs of our own. It can be young (sysctl.cc), and it can be written: an
// engine makes /proc/sys read-only for the processes of a container, and cleat is what makes containers. The host's
// switches are left to the host.
// Limits: values up to 4 KB. A procfs of our own takes CAP_SYS_ADMIN in the initial user namespace, and Linux 5.2;
// without them, ours are written through /proc/sys.
#pragma once

#include <napi.h>

#include <string>
#include <utility>
#include <vector>

#include "../node/failure.h"
#include "../node/worker.h"

namespace cleat {

using Sysctls = std::vector<std::pair<std::string, std::string>>;

enum class Owner { kHost, kOurs };

// Writes in order, in the calling thread's namespace; stops at the first failure.
Failure WriteSysctls(const Sysctls& sysctls, Owner owner);

Napi::Value SysctlRead(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value SysctlWrite(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
