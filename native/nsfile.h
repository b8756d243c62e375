// nsfile.h: files that are network namespaces.
//
// Guarantees: a descriptor that comes from here is an open network namespace, O_CLOEXEC; anything else is EINVAL.
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

// Open the network namespace at path.
Failure OpenNetns(const std::string& path, UniqueFd* netns);

Failure IdentifyNetns(int fd, const std::string& object, Identity* identity);

}  // namespace cleat
