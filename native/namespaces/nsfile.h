// nsfile.h: files that are network namespaces.
//
// Guarantees: a descriptor that comes from here is an open network namespace, O_CLOEXEC; anything else is EINVAL. A
// path that led to a namespace once need not lead there again (somebody mounts another over it). So a caller that knows
// which namespace is meant passes it to ExpectNetns, and then no operation through that path reaches another.
// Limits: needs NS_GET_NSTYPE (Linux 4.11).
#pragma once

#include <string>

#include "../fd.h"
#include "../node/failure.h"

namespace cleat {

// A network namespace's identity. A plain pair: both numbers fit a double exactly.
struct Identity {
  double dev = 0;
  double ino = 0;
};

// Fails with EINVAL unless fd is a network namespace. The failure names `object`.
Failure CheckNetns(int fd, const std::string& object);

// Opens the network namespace at path. ESTALE if it is not the one that is expected there.
Failure OpenNetns(const std::string& path, UniqueFd* netns);

// Opens the network namespace at path, whichever it is.
Failure OpenAnyNetns(const std::string& path, UniqueFd* netns);

// Makes every later OpenNetns in this process refuse any other namespace at this path; nullptr accepts any.
void ExpectNetns(const std::string& path, const Identity* identity);

Failure IdentifyNetns(int fd, const std::string& object, Identity* identity);

}  // namespace cleat
