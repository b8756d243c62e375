// sysctl.h: reading and writing /proc/sys, as the Outside's methods sysctlRead and sysctlWrite.
//
// Guarantees: keys cannot leave /proc/sys; what is under net/ is the network namespace's that the thread is in
// (net_ctl_header_lookup in net/sysctl_net.c goes by the calling task, not by the mount).
// Limits: values up to 4 KB.
#pragma once

#include <napi.h>

#include <string>
#include <utility>
#include <vector>

#include "failure.h"
#include "worker.h"

namespace cleat {

using Sysctls = std::vector<std::pair<std::string, std::string>>;

// Write in order, in the calling thread's namespace; stops at the first that fails.
Failure WriteSysctls(const Sysctls& sysctls);

Napi::Value SysctlRead(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value SysctlWrite(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
