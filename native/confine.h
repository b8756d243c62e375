// confine.h: a small executable gives up what it does not need, once it has what it began for.
//
// Guarantees, after a Confine that returned no failure: the process is that user, without supplementary groups; it has
// no capability but those it asked for, and no program that it could execute would have others (no_new_privs); it has a
// bounded number of descriptors and leaves no core file; a system call that is not on the list fails with EPERM, one of
// another architecture's table ends the process.
// A forbidden call fails and does not end the process: the process holds the connections of every container, and the
// call achieves nothing either way.
// Limits: for a process that has one thread; later ones inherit all of it. A capability that the process did not have
// is not there afterwards. Programs built with a sanitizer (of the compiler: __SANITIZE_*) are not confined, as that
// makes calls of its own; test/security/processes.test.ts reads from /proc that what is shipped is.
#pragma once

#include <sys/resource.h>

#include <optional>
#include <vector>

#include "capability.h"
#include "failure.h"

namespace cleat {

// A system call that is allowed; with a condition where `argument` is not -1: that argument, masked, has this value.
// Arguments count from 0, and their lower 32 bits are looked at.
struct SystemCall {
  int number;
  int argument = -1;
  uint32_t mask = 0;
  uint32_t value = 0;
};

struct UserIds {
  uid_t uid;
  gid_t gid;
};

struct Confined {
  std::optional<UserIds> user;  // none: as it was
  Capabilities capabilities;
  rlim_t descriptors;  // at most
  std::vector<SystemCall> calls;
};

Failure Confine(const Confined& to);

}  // namespace cleat
