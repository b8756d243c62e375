// confine.h: a small executable gives up the rights that it does not need, once it has opened what it needs.
//
// Guarantees, after Confine returned no failure: the process runs as that user, without supplementary groups; it has no
// capability but those it asked for, and no program that it could execute would have others (no_new_privs); it has a
// bounded number of descriptors and leaves no core file; a system call that is not on the list fails with EPERM; a
// system call of another architecture's table ends the process.
// A forbidden call fails and does not end the process: the process holds the connections of every container, and the
// call achieves nothing either way.
// Limits: for a process that has one thread; later threads inherit all of it. Confine adds no capability that the
// process did not have. Programs built with a sanitizer of the compiler (__SANITIZE_*) are not confined, because the
// sanitizer makes calls of its own; test/security/processes.test.ts reads from /proc that the shipped programs are
// confined.
#pragma once

#include <sys/resource.h>

#include <optional>
#include <vector>

#include "../node/failure.h"
#include "capability.h"

namespace cleat {

// A system call that is allowed. If `argument` is not -1, it is allowed only if that argument, masked, has this value.
// Arguments count from 0; only their lower 32 bits are compared.
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
  std::optional<UserIds> user;  // none: the user stays
  Capabilities capabilities;
  rlim_t descriptors;  // at most
  std::vector<SystemCall> calls;
};

Failure Confine(const Confined& to);

}  // namespace cleat
