// spawn.h: starting a program with exactly what it is given: descriptors, environment, session, namespaces.
//
// Guarantees:
// - The child runs only system calls between clone(2) and execve(2), shares our memory until then (no page tables are
//   copied, however large we are) and starts with default signal dispositions, none blocked.
// - Whatever fails in the child, exec included, is reported with its errno, and the child is reaped.
// - Descriptors not asked for are not inherited, close-on-exec or not.
//
// Limits: the calling thread waits until the program is executed. Working directory, umask, limits and cgroup are ours.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "failure.h"
#include "fd.h"

namespace cleat {

struct SpawnPlan {
  std::string file;
  std::vector<std::string> args;         // without argv[0], which is file
  std::vector<std::string> environment;  // NAME=value
  std::vector<int> fds;                  // -1: /dev/null
  bool own_session = false;
  bool own_mounts = false;
  std::string netns;  // "" is ours
};

Failure Spawn(const SpawnPlan& plan, pid_t* pid, UniqueFd* pidfd);

}  // namespace cleat
