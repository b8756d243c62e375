// mounts.h: what is different in the mount namespace of an ordinary user's cleat.
//
// /run is a tmpfs of ours. In it are
//   cleat-UID-INODE  the user's $XDG_RUNTIME_DIR/cleat. Programs of cleat that run as users of their own reach it
//                    there; the user's runtime directory is closed to them (0700). Its name says whose it is, and
//                    which: daemons find their programs by the paths on the command lines.
//   netns            where network namespaces are pinned, as in /run/netns of the host; `rootless` is the one that the
//                    user's containers have as their outside
//   .host            all of the host's /run
//   everything else  the directories of the host's /run, mounted; links to its other files
//
// Guarantees: nothing that is mounted here is seen outside. What the host mounts and unmounts is seen here (MS_SLAVE).
// Limits: a directory or file that appears later in the host's /run itself is seen in .host alone.
#pragma once

#include <string>

#include "user.h"

namespace cleat_rootless {

// The pin of the network namespace.
inline constexpr char kOutside[] = "/run/netns/rootless";

// Returns the path at which the user's directory is in the namespace.
std::string InsideOf(const User& user);

// Makes the mounts, and pins our network namespace. We are root of a user namespace, and alone in a mount namespace.
Trouble MakeMounts(const std::string& directory, const std::string& inside);

}  // namespace cleat_rootless
