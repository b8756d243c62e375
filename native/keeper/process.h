// process.h: which process is meant: its pid and when it started.
//
// Guarantees: a process that has the pid by chance is never taken for the one that was meant.
// Limits: /proc must show the pid namespace we are in.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "../fd.h"

namespace cleat_keeper {

struct Process {
  pid_t pid = 0;
  int64_t start = 0;  // field 22 of /proc/pid/stat
};

// Of a process that cannot be reaped meanwhile: ourselves, or a child of ours. -1 when /proc does not tell.
int64_t StartTime(pid_t pid);

// A pidfd of exactly this process; none when it has ended.
cleat::UniqueFd Hold(const Process& process);

}  // namespace cleat_keeper
