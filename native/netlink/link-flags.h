// link-flags.h: brings a link up without netlink.
//
// Guarantees: three system calls; only IFF_UP changes. Limits: the calling thread's network namespace.
#pragma once

#include <string>

#include "../node/failure.h"

namespace cleat {

Failure RaiseLink(const std::string& name);

}  // namespace cleat
