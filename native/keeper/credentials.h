// credentials.h: changes the identity of a process: user, capabilities, limits, and the namespaces that come with them.
//
// Guarantees: every function returns the step that failed (with errno), or null. Rights that were given up cannot be
// had back: capabilities leave the bounding set too, and no_new_privs is set. Limits: for processes with one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "../processes/capability.h"

namespace cleat_keeper {

// pasta needs these to enter a namespace, to configure its link there and to publish low ports; it keeps the first and
// the last of them (isolation.c of passt).
constexpr cleat::Capabilities kToEnterNamespaces = cleat::CapabilityBit(CAP_SYS_ADMIN) |
                                                   cleat::CapabilityBit(CAP_NET_ADMIN) |
                                                   cleat::CapabilityBit(CAP_NET_BIND_SERVICE);

// Changes to `user` and `group`, no other group, and these capabilities alone, through execve(2) as well.
const char* BecomeUser(uid_t user, gid_t group, cleat::Capabilities capabilities);

// Changes to `user`, in a user namespace of its own in which it is root: none of its capabilities counts outside.
const char* BecomeRootOfOwnNamespace(uid_t user, gid_t group);

// Makes a network namespace that belongs to our user namespace. We stay where we are.
const char* MakeNetns(int* fd);

// Lets `user` open /dev/net/tun. Some machines keep it for root (mode 0600; udev makes it 0666): there the user gets a
// device node of its own. For a process with a mount namespace of its own.
const char* OfferTun(uid_t user);

// Forbids core dumps, and more descriptors than kMostDescriptors.
const char* LimitResources();

}  // namespace cleat_keeper
