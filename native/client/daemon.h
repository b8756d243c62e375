// daemon.h: finds the daemon that serves the caller's network namespace, and starts one when there is none.
//
// Guarantees: the daemon that is found works in the caller's own network namespace, as the caller's user, and has
// answered. It does not leave for want of work while `connection` is open. Callers that come at once get the same
// daemon, and one is started (flock on its directory). Nothing waits past the deadline. A message is one sentence for
// people. Limits: a socket that was chosen (--socket, CLEAT_SOCKET) is taken as it is, and nothing is started there.
// Only root of a user namespace starts a daemon. docs/decisions/0058.
#pragma once

#include <optional>
#include <string>

#include "deadline.h"
#include "http.h"

namespace cleat_client {

struct DaemonOptions {
  std::optional<std::string> socket;  // that of the command line
};

struct Daemon {
  // For requests, and to be kept open until the last of them is answered.
  Connection connection;
  bool started = false;  // by us

  const std::string& socket() const { return connection.path(); }
};

// Returns why there is no daemon; empty if `out` holds one.
std::string FindDaemon(const DaemonOptions& options, const Deadline& deadline, Daemon* out);

}  // namespace cleat_client
