// pipe.h: both ends of a pipe, which close themselves.
//
// Limits: who forks resets the end that is the other process's; otherwise neither notices the end of the other.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include "fd.h"

namespace cleat {

struct Pipe {
  UniqueFd reading;
  UniqueFd writing;

  // Returns false with errno if there is no pipe. Both ends are close-on-exec.
  bool Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    reading.Reset(ends[0]);
    writing.Reset(ends[1]);
    return true;
  }
};

}  // namespace cleat
