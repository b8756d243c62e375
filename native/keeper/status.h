// status.h: the state of the program, in a file that any process may read at any time.
//
// Guarantees: the file is replaced whole (rename(2)); it is JSON in ASCII. Limits: it describes the last change that
// the keeper had to report, and had room to write; the reader has to find out if the keeper lives.
#pragma once

#include <cstdint>
#include <string>

#include "process.h"

namespace cleat_keeper {

struct Status {
  const char* state = "starting";  // starting, ready, ended
  Process keeper;
  Process child;           // pid 0: none
  int log = -1;            // the keeper's descriptor of the log
  int64_t ready_ms = -1;   // from the start of the program
  int code = -1;           // exit code; -1: none
  int signal = 0;          // the signal that killed it; 0: none
  const char* cause = "";  // why the keeper ended it: deadline, bound, told; empty: by itself
  std::string error;       // why it was never run
  std::string output;      // the end of the log
};

// Replaces the file in `directory`. Returns false with errno.
bool Write(int directory, const Status& status);

}  // namespace cleat_keeper
