// rtnl-decode.h: decodes rtnetlink's messages to C++ values (to JavaScript objects: rtnl-value.h).
//
// Guarantees: the decoders trust nothing. They return false for a message of another type or family, or shorter than
// its header, and skip attributes that are too short for their type. They touch no JavaScript and may run on any
// thread.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/if_link.h>

#include <optional>
#include <string>
#include <vector>

#include "../netlink/address.h"

namespace cleat {

// All addresses that begin with the first `prefix` bits of `address`.
struct Area {
  IpAddress address;
  uint8_t prefix = 0;
};

struct VxlanFacts {
  uint32_t vni = 0;
  std::string local;
  uint16_t port = 0;
  bool learning = false;
};

struct LinkFacts {
  int index = 0;
  std::string name;
  std::string kind;
  std::string mac;
  uint32_t mtu = 0;
  bool up = false;
  bool lower_up = false;
  bool operational = false;
  uint32_t master = 0;
  uint32_t link = 0;
  std::optional<int> netns_id;
  uint32_t group = 0;
  std::string alias;
  std::optional<VxlanFacts> vxlan;
  rtnl_link_stats64 statistics{};
};

struct AddressFacts {
  uint32_t link = 0;
  std::string address;
  uint8_t prefix = 0;
  uint8_t scope = 0;
  bool tentative = false;
};

struct RouteFacts {
  std::string destination;
  uint8_t prefix = 0;
  std::optional<std::string> gateway;
  uint32_t link = 0;
  uint32_t metric = 0;
  uint32_t table = 0;
  uint8_t type = 0;
  uint8_t protocol = 0;
};

// The kernel's answer to a request for the route to one address (RTM_GETROUTE).
struct WayFacts {
  int link = 0;
  std::optional<std::string> gateway;
  uint32_t table = 0;
  std::optional<uint32_t> mtu;  // RTAX_MTU of the route itself, if it has one
};

// A rule of the routing policy (ip-rule(8)): it chooses the table for the packets that it matches.
struct RuleFacts {
  uint8_t family = 0;
  uint32_t priority = 0;
  uint8_t action = 0;  // FR_ACT_*
  uint32_t table = 0;
  std::string source;
  uint8_t source_prefix = 0;
  std::string destination;
  uint8_t prefix = 0;
  bool inverted = false;
  std::optional<uint32_t> suppress_prefix;
};

struct NeighbourFacts {
  int link = 0;
  std::string address;
  std::string mac;
  uint16_t state = 0;
  uint8_t protocol = 0;
};

// An entry of a VXLAN link's forwarding table.
struct FdbFacts {
  std::string mac;
  std::string destination;
};

// Decodes new and deleted objects alike (RTM_NEWLINK, RTM_DELLINK): nlmsg_type says which it is.
bool DecodeLink(const nlmsghdr* message, LinkFacts* link);
// Decodes a bridge's message about a port, which is a link of family AF_BRIDGE: an RTM_DELLINK is a port leaving, not a
// link.
bool DecodePort(const nlmsghdr* message, LinkFacts* port);
bool DecodeAddress(const nlmsghdr* message, AddressFacts* address);
// Returns false for exceptions that the kernel keeps for single destinations (RTM_F_CLONED: path MTU, redirects), which
// are no routes.
bool DecodeRoute(const nlmsghdr* message, RouteFacts* route);
bool DecodeWay(const nlmsghdr* message, WayFacts* way);
bool DecodeRule(const nlmsghdr* message, RuleFacts* rule);
bool DecodeNeighbour(const nlmsghdr* message, NeighbourFacts* neighbour);
// Returns false for entries that lead to no address, such as those of a bridge's ports.
bool DecodeFdb(const nlmsghdr* message, FdbFacts* entry);

// Returns true if the destination of a route has an address in common with one of the areas. For dumps of large tables:
// it compares bytes and makes no text.
bool RouteTouches(const nlmsghdr* message, const std::vector<Area>& areas);
// Returns true if the message is a route of one of these tables.
bool RouteIsOf(const nlmsghdr* message, const std::vector<uint32_t>& tables);

}  // namespace cleat
