// rtnl-decode.h: what rtnetlink says, as C++ values (as JavaScript objects: rtnl-value.h).
//
// Guarantees: the decoders believe nothing: a message of another type or family, or shorter than its header, is false;
// attributes too short for their type are skipped. They touch no JavaScript and may run on any thread.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/if_link.h>

#include <optional>
#include <string>

namespace cleat {

struct LinkFacts {
  int index = 0;
  std::string name;
  std::string kind;
  std::string mac;
  uint32_t mtu = 0;
  bool up = false;
  bool lower_up = false;
  uint32_t master = 0;
  uint32_t link = 0;
  std::optional<int> netns_id;
  uint32_t group = 0;
  std::string alias;
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

struct NeighbourFacts {
  int link = 0;
  std::string address;
  std::string mac;
  uint16_t state = 0;
};

// New and deleted alike (RTM_NEWLINK, RTM_DELLINK): what is done with the object is in nlmsg_type.
bool DecodeLink(const nlmsghdr* message, LinkFacts* link);
// What bridges say of their ports, as links of family AF_BRIDGE: an RTM_DELLINK is a port leaving, not a link.
bool DecodePort(const nlmsghdr* message, LinkFacts* port);
bool DecodeAddress(const nlmsghdr* message, AddressFacts* address);
bool DecodeRoute(const nlmsghdr* message, RouteFacts* route);
bool DecodeNeighbour(const nlmsghdr* message, NeighbourFacts* neighbour);

}  // namespace cleat
