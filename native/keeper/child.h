// child.h: the program, from fork(2) to its end.
//
// Guarantees: it is not executed before Run is called, so that its pid can be on disk first. It is killed when the
// keeper dies, however that happens (PR_SET_PDEATHSIG, and the exit pipe for a program that knows one); it leads a
// process group and a session of its own, has default signals, and of descriptors the null device, the log, and what
// Options name. It runs as a user of its own: with a descriptor of a network namespace (slirp4netns) it has no
// capability, and makes its link in that one, which belongs to its own user namespace and from where the daemon takes
// it; without (pasta) it has the capabilities to enter one by itself. It may write to one directory. Limits: the death
// signal is forgotten by a program that changes its credentials (prctl(2)); only the exit pipe and the pid on disk are
// left then.
#pragma once

#include <string>

#include "../fd.h"
#include "options.h"
#include "process.h"

namespace cleat_keeper {

struct Child {
  Process process;
  cleat::UniqueFd pidfd;
  cleat::UniqueFd go;     // written to: execute
  cleat::UniqueFd error;  // what failed on the way to execve(2), an ExecFailure; ends when it is executed
  cleat::UniqueFd exit;   // ours alone: closing it tells the program to end
  cleat::UniqueFd ready;  // readable when the program says that it is ready
};

// Forks. A directory below `directory` becomes its own and its working directory. Why not, or empty.
std::string Start(const Options& options, int directory, int log, Child* child);

// Lets it execute. Why it could not, or empty. After an error it is still to be waited for.
std::string Run(Child* child);

}  // namespace cleat_keeper
