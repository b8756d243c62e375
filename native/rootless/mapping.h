// mapping.h: the ids of a new user namespace.
//
// Root in it is the user; from 1 on follow the user's subordinate ids. newuidmap(1) and newgidmap(1) write that,
// because only a privileged program may map ids that are not the user's own.
#pragma once

#include <sys/types.h>

#include "user.h"

namespace cleat_rootless {

// Maps the ids of the user namespace that process `pid` is in.
Trouble MapIds(const User& user, pid_t pid);

}  // namespace cleat_rootless
