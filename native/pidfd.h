// pidfd.h: holding on to one process.
//
// Guarantees: what HoldProcess returns refers to a process that was alive, with that start time, after its descriptor
// was opened: the descriptor cannot refer to an earlier or later owner of the pid.
// Limits: /proc must show the pid namespace we are in.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "failure.h"
#include "fd.h"

namespace cleat {

// Field 22 of /proc/pid/stat, of a zombie too.
Failure ReadStartTime(pid_t pid, int64_t* start_time);

// A live process and its start time. ESRCH when it is gone; a zombie counts as gone.
Failure HoldProcess(pid_t pid, UniqueFd* pidfd, int64_t* start_time);
// The same, when the start time is the expected one; ESRCH when it is another's.
Failure HoldProcessOf(pid_t pid, int64_t start_time, UniqueFd* pidfd);

// Whether the process has ended (every thread of it).
bool HasEnded(int pidfd);

// "process 17", what failures name.
std::string ProcessName(pid_t pid);

}  // namespace cleat
