// holder.h: the process that keeps the namespaces of an ordinary user's cleat, independently of the daemon.
//
//   $XDG_RUNTIME_DIR/cleat/namespace       its pid and start time, the inodes of its user and mount namespace,
//                                          and where the directory is in there
//   $XDG_RUNTIME_DIR/cleat/namespace.lock  flock(2): one caller at a time looks and makes
//
// Guarantees: the file is written when the namespaces are complete, so a half-made one is never found. A holder is
// known by pid, start time and namespaces. When it has been killed, any other process in its namespaces (the daemon, a
// program of it, a command of the user) leads to them, and a new holder is made there. The holder ends on SIGTERM.
// Limits: the namespaces end with the last process in them.
#pragma once

#include <string>

#include "user.h"

namespace cleat_rootless {

// Where we are after Enter.
struct Place {
  // The user's directory, as it is called in the mount namespace.
  std::string directory;
};

// Enters the user and mount namespace of this user's cleat, which it makes if there are none. Our network namespace
// stays.
Trouble Enter(const User& user, Place* place);

}  // namespace cleat_rootless
