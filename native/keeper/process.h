// process.h: which process is meant: its pid and when it started, as pidfd.h has it.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace cleat_keeper {

struct Process {
  pid_t pid = 0;
  int64_t start = 0;  // field 22 of /proc/pid/stat
};

}  // namespace cleat_keeper
