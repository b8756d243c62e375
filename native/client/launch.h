// launch.h: becomes the parent of a daemon that has nothing to do with its parent.
//
// Guarantees: the daemon has a session of its own, no descriptor of ours (an engine waits for the end of its helper's
// stdout), no signal blocked or ignored, a fixed environment, and "/" as its working directory. Its output is in a log
// file. That it has ended is noticed, however it ends.
// Limits: it stays in our cgroup: a manager that ends all processes of ours ends it too, and containers keep their
// networks. Its settings are the defaults: who wants others starts it by `cleat daemon`.
#pragma once

#include <string>
#include <vector>

#include "../fd.h"

namespace cleat_client {

struct Program {
  std::string node;
  std::string daemon;  // the script `cleat`
};

// Finds node and the script: CLEAT_NODE and CLEAT_DAEMON, which are absolute paths, or the usual places. Returns why
// they cannot be found; empty if `out` holds them.
std::string FindProgram(Program* out);

// Starts `cleat` with these arguments; its output replaces what is in the log. `pidfd` becomes readable when it has
// ended. Returns why it does not run; empty if it does.
std::string Launch(const Program& program, const std::vector<std::string>& arguments, const std::string& log,
                   cleat::UniqueFd* pidfd);

// Returns the last lines of a log as one line, for a message.
std::string LastWords(const std::string& log);

}  // namespace cleat_client
