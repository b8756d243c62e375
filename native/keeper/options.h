// options.h: what cleat-keeper is told on its command line.
//
// Guarantees: ParseOptions is a pure function of the arguments; nothing is guessed, an unknown word is an error.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace cleat_keeper {

struct Options {
  std::string directory;
  pid_t bound_pid = 0;       // 0: nobody
  int64_t bound_start = -1;  // of that; -1: not given
  int exit_fd = -1;          // in the program: its end of a pipe that ends with the keeper
  int ready_fd = -1;         // in the program: what it writes to when it is ready; -1: ready once executed
  int64_t ready_ms = 0;      // how long it may take to be ready
  uid_t user = 0;            // whom the program runs as
  gid_t group = 0;
  int netns_fd = -1;               // in the program: a network namespace of its own; -1: it enters one by itself
  char* const* program = nullptr;  // argv of the program, ended by a null pointer
};

// Why not; empty when `out` is whole.
std::string ParseOptions(int argc, char* const* argv, Options* out);

}  // namespace cleat_keeper
