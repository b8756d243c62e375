// Finds the daemon as a front does, and says where it is. For find-daemon.test.ts alone.
//
//   find-daemon [--socket PATH] [--ask PATH] [MILLISECONDS]
#include <cstdio>
#include <cstdlib>
#include <string>

#include "../../native/client/ask.h"
#include "../../native/client/daemon.h"

int main(int argc, char** argv) {
  cleat_client::DaemonOptions options;
  std::string path;
  int64_t ms = 60'000;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--socket" && i + 1 < argc) {
      options.socket = argv[++i];
    } else if (word == "--ask" && i + 1 < argc) {
      path = argv[++i];
    } else {
      ms = std::atoll(argv[i]);
    }
  }
  const auto deadline = cleat_client::Deadline::InMilliseconds(ms);
  cleat_client::Daemon daemon;
  std::string problem = cleat_client::FindDaemon(options, deadline, &daemon);
  cleat_client::Reply reply;
  if (problem.empty() && !path.empty()) {
    problem = daemon.connection.Exchange({"GET", path, "", false, ""}, deadline, &reply);
  }
  if (!problem.empty()) {
    std::printf("%s\n", problem.c_str());
    return EXIT_FAILURE;
  }
  std::printf("%s %s\n%s", daemon.started ? "started" : "found", daemon.socket().c_str(), reply.body.c_str());
  return EXIT_SUCCESS;
}
