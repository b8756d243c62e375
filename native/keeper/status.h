// status.h: what is known of the program, in a file that whoever cares may read at any time.
//
// Guarantees: the file is replaced whole (rename(2)); it is JSON in ASCII. Limits: it says what was so when the keeper
// last had something to say, and room to write it; whether the keeper lives is for the reader to find out.
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
  int code = -1;           // it exited with
  int signal = 0;          // it was killed by
  const char* cause = "";  // why the keeper ended it: deadline, bound, told; empty: by itself
  std::string error;       // why it was never run
  std::string output;      // the end of the log
};

// Replaces the file in `directory`. False with errno.
bool Write(int directory, const Status& status);

}  // namespace cleat_keeper
