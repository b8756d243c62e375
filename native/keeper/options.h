// options.h: the command line of cleat-keeper.
//
// Guarantees: ParseOptions is a pure function of the arguments; nothing is guessed, an unknown word is an error.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace cleat_keeper {

struct Options {
  std::string directory;
  pid_t bound_pid = 0;       // 0: none
  int64_t bound_start = -1;  // of that process; -1: not given
  int bound_fd = -1;         // ours: the program ends when the other end is closed (../processes/exit-fd.h)
  int exit_fd = -1;          // in the program: its end of a pipe that ends with the keeper
  int ready_fd = -1;         // in the program: it writes to this when it is ready; -1: ready once executed
  int64_t ready_ms = 0;      // how long it may take to be ready
  uid_t user = 0;            // the user that the program runs as
  gid_t group = 0;
  int netns_fd = -1;               // in the program: a network namespace of its own; -1: it enters one by itself
  char* const* program = nullptr;  // argv of the program, ended by a null pointer
};

// Returns why the command line is invalid; empty if `out` is complete.
std::string ParseOptions(int argc, char* const* argv, Options* out);

}  // namespace cleat_keeper
