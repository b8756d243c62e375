// pidfd.h: holds one process by a descriptor.
//
// Guarantees: the descriptor from HoldProcess refers to a process that was alive, with that start time, after the
// descriptor was opened: it cannot refer to an earlier or later owner of the pid.
// Limits: /proc must show the pid namespace we are in.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "../fd.h"
#include "../node/failure.h"

namespace cleat {

// Reads field 22 of /proc/pid/stat, also of a zombie.
Failure ReadStartTime(pid_t pid, int64_t* start_time);

// Opens a live process and reads its start time. ESRCH if it is gone; a zombie counts as gone.
Failure HoldProcess(pid_t pid, UniqueFd* pidfd, int64_t* start_time);
// Opens a live process. ESRCH if it is gone, or if its start time is not the expected one.
Failure HoldProcessOf(pid_t pid, int64_t start_time, UniqueFd* pidfd);

// Returns true if the process has ended (every thread of it).
bool HasEnded(int pidfd);

// Returns "process 17", the name in failures.
std::string ProcessName(pid_t pid);

}  // namespace cleat
