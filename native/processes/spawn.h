// spawn.h: starts a program with exactly what it is given: descriptors, environment, session, namespaces, and with the
// rights of another user.
//
// Guarantees:
// - The child runs only system calls between clone(2) and execve(2), shares our memory until then (no page tables are
//   copied, however large we are) and starts with default signal dispositions, none blocked.
// - Whatever fails in the child, exec included, is reported with its errno, and the child is reaped.
// - Descriptors that were not requested are not inherited, close-on-exec or not.
// - A confined program runs as that user without supplementary groups, with those capabilities alone (ambient, and
//   nothing else in its bounding set), can gain no more (no_new_privs), leaves no core file, and has a bounded number
//   of descriptors. The child enters its namespaces before that, with our rights.
//
// Limits: the calling thread waits until the program is executed. Working directory, umask and cgroup are ours, and so
// are the limits of a program that is not confined. Confining needs CAP_SETUID, CAP_SETGID and CAP_SETPCAP.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "../fd.h"
#include "../node/failure.h"
#include "capability.h"

namespace cleat {

struct Confinement {
  uid_t uid;
  gid_t gid;
  Capabilities capabilities;
  uint32_t descriptors;  // at most; fewer where our own hard limit is lower
};

struct SpawnPlan {
  std::string file;
  std::vector<std::string> args;         // without argv[0], which is file
  std::vector<std::string> environment;  // NAME=value
  std::vector<int> fds;                  // -1: /dev/null
  bool own_session = false;
  bool own_mounts = false;
  // With own mounts: covers a directory, in which the program then finds nothing but the one below it that is shown, at
  // its usual path. "" for nothing. So a user who may not enter the directory reaches what is meant for it.
  std::string cover;
  std::string show;
  std::string netns;  // "" is ours
  std::optional<Confinement> confinement;
};

Failure Spawn(const SpawnPlan& plan, pid_t* pid, UniqueFd* pidfd);

}  // namespace cleat
