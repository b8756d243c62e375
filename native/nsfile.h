// nsfile.h: files that are network namespaces.
//
// Guarantees: a descriptor that comes from here is an open network namespace, O_CLOEXEC; anything else is EINVAL. A
// path that was found to lead to a namespace once need not lead there again (somebody mounts another over it): whoever
// knows which one is meant says so, and no act through that path reaches another.
// Limits: needs NS_GET_NSTYPE (Linux 4.11).
#pragma once

#include <string>

#include "failure.h"
#include "fd.h"

namespace cleat {

// A network namespace's identity. A plain pair: both numbers fit a double exactly.
struct Identity {
  double dev = 0;
  double ino = 0;
};

// EINVAL unless fd is a network namespace. object is what the failure names.
Failure CheckNetns(int fd, const std::string& object);

// Open the network namespace at path. ESTALE when it is another than the one that is expected there.
Failure OpenNetns(const std::string& path, UniqueFd* netns);

// The same, whichever it is.
Failure OpenAnyNetns(const std::string& path, UniqueFd* netns);

// From now on every OpenNetns in this process takes no other namespace at this path; nullptr: any.
void ExpectNetns(const std::string& path, const Identity* identity);

Failure IdentifyNetns(int fd, const std::string& object, Identity* identity);

}  // namespace cleat
