// link-flags.h: bringing a link up without a netlink conversation.
//
// Guarantees: three system calls; only IFF_UP changes. Limits: the calling thread's network namespace.
#pragma once

#include <string>

#include "failure.h"

namespace cleat {

Failure RaiseLink(const std::string& name);

}  // namespace cleat
