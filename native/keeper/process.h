// process.h: identifies a process: its pid and its start time, as in pidfd.h. A pid alone may be another process's by
// now.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace cleat_keeper {

struct Process {
  pid_t pid = 0;
  int64_t start = 0;  // field 22 of /proc/pid/stat
};

}  // namespace cleat_keeper
