// conntrack-entry.h: entries of the kernel's connection tracking, as it dumps them (nf_conntrack_netlink.c), and the
// requests made from them.
//
// Guarantees: no message is trusted: an attribute that is too short counts as absent, and an entry that lacks an
// address is dropped. It uses no JavaScript; any thread may call it.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string>

namespace cleat {

// One direction of a connection. Addresses are bytes, 4 or 16; ports are 0 where the protocol has none.
struct Tuple {
  std::string source;
  std::string destination;
  uint16_t source_port = 0;
  uint16_t destination_port = 0;
};

// An address and a port of a container.
struct Target {
  std::string address;
  uint16_t port = 0;
};

struct Entry {
  int family = 0;
  uint8_t protocol = 0;
  uint32_t status = 0;  // IPS_* (nf_conntrack_common.h)
  std::string zone;     // CTA_ZONE as it came, empty for the default zone
  Tuple original;       // from the client to the address that it sent to
  Tuple reply;          // from the server to its peer; the original reversed unless addresses are translated
};

// Starts a request in `buffer`, which must be aligned for a nlmsghdr. `type` is one of IPCTNL_MSG_CT_*.
nlmsghdr* BeginConntrack(char* buffer, uint16_t type, uint16_t flags, int family);

std::optional<Entry> DecodeEntry(const nlmsghdr* message);

// Returns the request that deletes an entry by its original tuple, zone and id, as the dump gave them. `number` becomes
// its nlmsg_seq.
std::string DeleteRequest(const nlmsghdr* entry, uint32_t number);

// Returns two requests, numbered 0 and 1: delete any entry that has this one's original tuple in either direction, then
// create an entry that leads its client to `to`, or untranslated to its original destination.
std::string ReplaceRequests(const Entry& entry, const std::optional<Target>& to);

}  // namespace cleat
