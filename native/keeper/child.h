// child.h: the program, from fork(2) to its end.
//
// Guarantees: it is not executed before Run is called, so that its pid can be on disk first. It is killed when the
// keeper dies, however that happens (PR_SET_PDEATHSIG, and the exit pipe for a program that supports one). It leads a
// process group and a session of its own, has default signals, and as descriptors the null device, the log, and those
// that Options name. It runs as a user of its own. With a descriptor of a network namespace (slirp4netns) it has no
// capability, and makes its link in that namespace, which belongs to its own user namespace and from where the daemon
// takes the link. Without one (pasta) it has the capabilities to enter a namespace by itself. It may write to one
// directory. Limits: a program that changes its credentials loses the death signal (prctl(2)); only the exit pipe and
// the pid on disk are left then.
#pragma once

#include <string>

#include "../fd.h"
#include "options.h"
#include "process.h"

namespace cleat_keeper {

struct Child {
  Process process;
  cleat::UniqueFd pidfd;
  cleat::UniqueFd go;     // a byte in it lets the program execute
  cleat::UniqueFd error;  // an ExecFailure from before execve(2); ends when it is executed
  cleat::UniqueFd exit;   // ours alone: the program ends when it is closed
  cleat::UniqueFd ready;  // readable when the program reports that it is ready
};

// Forks. A directory below `directory` becomes the program's own and its working directory. Returns why it failed, or
// empty.
std::string Start(const Options& options, int directory, int log, Child* child);

// Lets the program execute. Returns why it could not, or empty. After an error it still has to be waited for.
std::string Run(Child* child);

}  // namespace cleat_keeper
