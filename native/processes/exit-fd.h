// exit-fd.h: a descriptor whose other end is held by somebody else, until something is over: the read end of a pipe, a
// connected socket, a pidfd (docs/decisions/0059).
//
// Guarantees: nothing is read from the descriptor, and nothing of its open file description is changed: others have it,
// too. Data that nobody has read does not hide the end. Limits: a descriptor is taken from a process with
// pidfd_getfd(2) (Linux 5.6), for which PTRACE_MODE_ATTACH is needed (ptrace(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "../fd.h"
#include "../node/failure.h"

namespace cleat {

// What a descriptor is. kWriteEnd: of a pipe; whoever holds it keeps the end from being noticed. kUnconnected: a socket
// that has no other end.
enum class ExitKind { kPipe, kSocket, kProcess, kWriteEnd, kUnconnected, kOther };

ExitKind KindOf(int fd);

// Returns the events of poll(2) and epoll(7) that mean the end, besides the hang-up that is always reported.
short EndEvents(int fd);

// Returns true if the other end is closed, or the process of a pidfd has ended.
bool HasHungUp(int fd);

// Duplicates a descriptor of a live process. ESRCH if the process is gone, EBADF if it has no such descriptor.
Failure TakeDescriptor(pid_t pid, int number, UniqueFd* out, int64_t* start_time);

}  // namespace cleat
