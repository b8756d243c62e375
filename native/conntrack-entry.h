// conntrack-entry.h: entries of the kernel's connection tracking, as it dumps them (nf_conntrack_netlink.c), and the
// requests made of them.
//
// Guarantees: nothing is believed: what is too short for what it should be is not there. No JavaScript, any thread.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <string>
#include <unordered_set>

namespace cleat {

using Addresses = std::unordered_set<std::string>;  // as bytes, 4 or 16

// The beginning of a request, in a buffer that is aligned for a nlmsghdr. type: IPCTNL_MSG_CT_*.
nlmsghdr* BeginConntrack(char* buffer, uint16_t type, uint16_t flags, int family);

// Whether an entry has one of the addresses anywhere in its tuples.
bool Holds(const nlmsghdr* entry, const Addresses& addresses);

// The request that deletes an entry: its original tuple, zone and id, as the dump gave them. number: its nlmsg_seq.
std::string DeleteRequest(const nlmsghdr* entry, uint32_t number);

}  // namespace cleat
