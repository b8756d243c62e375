// rtnl-request.h: the rtnetlink requests of index.ts as C++ values, with their parser and their encoder.
//
// Guarantees: parsing checks types and address text only. Encoding and the kernel check the rest (names, unknown
// links), and the result is that request's own errno.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "../netlink/address.h"
#include "../node/input.h"

namespace cleat {

struct LinkPeer {
  std::string name;
  std::optional<MacAddress> mac;
  std::optional<uint32_t> mtu;
  bool up = false;
  std::string netns;
};

// A VXLAN without learning: whoever makes it says where each MAC is (FdbChange).
struct Vxlan {
  uint32_t vni = 0;
  IpAddress local;  // the source of its packets, and the address that it listens on
  uint16_t port = 0;
};

struct LinkAdd {
  std::string kind;
  std::string name;
  std::optional<MacAddress> mac;
  std::optional<uint32_t> mtu;
  std::optional<std::string> master;
  std::optional<std::string> parent;
  std::optional<std::string> netns;
  uint32_t mode = 0;  // MACVLAN_MODE_* or IPVLAN_MODE_*
  std::optional<int32_t> bc_cutoff;
  uint16_t vlan = 0;
  std::optional<bool> vlan_filtering;
  std::optional<Vxlan> vxlan;
  std::optional<uint32_t> group;
  bool up = false;
  std::optional<LinkPeer> peer;
};

struct LinkSet {
  std::string name;
  std::optional<std::string> rename;
  std::optional<MacAddress> mac;
  std::optional<uint32_t> mtu;
  std::optional<std::string> master;  // "" detaches
  std::optional<uint32_t> group;
  std::optional<std::string> alias;
  std::optional<bool> up;
  std::optional<bool> no_link_local;
  std::optional<bool> arp_notify;
  std::optional<bool> hairpin;
  std::optional<uint16_t> port_vlan;
  std::optional<uint16_t> self_vlan;
  std::optional<std::string> netns;
};

struct LinkDel {
  std::string name;
};

struct LinkDelGroup {
  uint32_t group = 0;
};

struct AddressChange {
  bool add = false;
  std::string link;
  IpAddress address;
  uint8_t prefix = 0;
  std::optional<IpAddress> broadcast;
};

struct RouteChange {
  enum class Verb { kAdd, kReplace, kDel };
  Verb verb = Verb::kAdd;
  IpAddress destination;
  uint8_t prefix = 0;
  std::optional<IpAddress> gateway;
  std::optional<std::string> link;
  std::optional<uint32_t> metric;
  std::optional<uint32_t> table;
  std::optional<uint8_t> type;   // RTN_*
  std::optional<uint8_t> scope;  // RT_SCOPE_*
  std::optional<uint8_t> protocol;
  bool onlink = false;
};

struct NeighbourChange {
  bool replace = false;
  std::string link;
  IpAddress address;
  std::optional<MacAddress> mac;
  std::optional<uint8_t> protocol;
};

// Where the VXLAN link sends the frames for a MAC.
struct FdbChange {
  bool replace = false;
  std::string link;
  MacAddress mac{};
  IpAddress destination;
};

struct RuleChange {
  bool add = false;
  IpAddress source;
  uint8_t prefix = 0;
  uint32_t table = 0;
  uint32_t priority = 0;
};

using RtnlRequest = std::variant<LinkAdd, LinkSet, LinkDel, LinkDelGroup, AddressChange, RouteChange, NeighbourChange,
                                 FdbChange, RuleChange>;

// Faults go to input.
std::vector<RtnlRequest> ParseRtnlRequests(Input& input, Napi::Value value);

// Returns "unicast" and so on; the number as text for a type without a name.
std::string RouteTypeName(uint8_t type);

class RtnlBatch;

// Appends the request's message or messages to the batch. Returns the errno of a request that cannot be sent (nothing
// of it was appended), 0 otherwise.
int EncodeRtnlRequest(const RtnlRequest& request, RtnlBatch& batch);

}  // namespace cleat
