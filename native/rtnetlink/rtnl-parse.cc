// rtnl-parse.cc: RtnlRequest from JavaScript (rtnl-request.h).
//
// Guarantees: every field is checked for its type before it is used; a wrong one is a TypeError that names it.
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <iterator>

#include "rtnl-request.h"

namespace cleat {

namespace {

struct Name {
  const char* text;
  uint8_t value;
};

constexpr Name kRouteTypes[] = {{"unicast", RTN_UNICAST},
                                {"local", RTN_LOCAL},
                                {"blackhole", RTN_BLACKHOLE},
                                {"unreachable", RTN_UNREACHABLE},
                                {"prohibit", RTN_PROHIBIT}};
constexpr Name kRouteScopes[] = {{"global", RT_SCOPE_UNIVERSE}, {"link", RT_SCOPE_LINK}, {"host", RT_SCOPE_HOST}};

constexpr Name kMacvlanModes[] = {{"bridge", MACVLAN_MODE_BRIDGE},
                                  {"private", MACVLAN_MODE_PRIVATE},
                                  {"vepa", MACVLAN_MODE_VEPA},
                                  {"passthru", MACVLAN_MODE_PASSTHRU}};
constexpr Name kIpvlanModes[] = {{"l2", IPVLAN_MODE_L2}, {"l3", IPVLAN_MODE_L3}, {"l3s", IPVLAN_MODE_L3S}};
constexpr int64_t kLastTag = 4094;      // 802.1Q
constexpr int64_t kLastVni = 0xffffff;  // RFC 7348, 5

template <size_t N>
std::optional<uint8_t> OptionalName(Input& input, Napi::Object from, const char* key, const Name (&names)[N]) {
  std::optional<std::string> text = input.OptionalText(from, key);
  if (!text) return std::nullopt;
  for (const Name& name : names) {
    if (*text == name.text) return name.value;
  }
  input.WrongType(key, "one of the names in index.ts");
  return std::nullopt;
}

std::optional<uint16_t> OptionalTag(Input& input, Napi::Object from, const char* key) {
  Napi::Value value = input.Get(from, key);
  if (value.IsUndefined()) return std::nullopt;
  return static_cast<uint16_t>(input.Integer(value, key, 1, kLastTag));
}

std::optional<LinkPeer> ParsePeer(Input& input, Napi::Value value) {
  if (value.IsUndefined()) return std::nullopt;
  Napi::Object from = input.Object(value, "peer");
  LinkPeer peer;
  peer.name = input.Text(from, "name");
  peer.mac = input.OptionalMac(from, "mac");
  peer.mtu = input.OptionalUint(from, "mtu");
  peer.up = input.OptionalFlag(from, "up").value_or(false);
  peer.netns = input.Text(from, "netns");
  return peer;
}

std::optional<Vxlan> ParseVxlan(Input& input, Napi::Value value) {
  if (value.IsUndefined()) return std::nullopt;
  Napi::Object from = input.Object(value, "vxlan");
  Vxlan vxlan;
  vxlan.vni = static_cast<uint32_t>(input.Integer(input.Get(from, "vni"), "vni", 0, kLastVni));
  vxlan.local = input.Address(from, "local");
  vxlan.port = static_cast<uint16_t>(input.Integer(input.Get(from, "port"), "port", 1, UINT16_MAX));
  return vxlan;
}

// The protocol that made a route or a neighbour entry (rtnetlink(7), RTPROT_*).
std::optional<uint8_t> OptionalProtocol(Input& input, Napi::Object from) {
  Napi::Value value = input.Get(from, "protocol");
  if (value.IsUndefined()) return std::nullopt;
  return static_cast<uint8_t>(input.Integer(value, "protocol", 0, UINT8_MAX));
}

LinkAdd ParseLinkAdd(Input& input, Napi::Object from) {
  LinkAdd add;
  add.kind = input.Text(from, "kind");
  bool known = false;
  for (const char* kind : {"veth", "bridge", "macvlan", "ipvlan", "vlan", "vxlan", "wireguard", "ifb"}) {
    known = known || add.kind == kind;
  }
  if (!known) input.WrongType("kind", "veth, bridge, macvlan, ipvlan, vlan, vxlan, wireguard or ifb");
  add.name = input.Text(from, "name");
  add.mac = input.OptionalMac(from, "mac");
  add.mtu = input.OptionalUint(from, "mtu");
  add.master = input.OptionalText(from, "master");
  add.parent = input.OptionalText(from, "parent");
  add.netns = input.OptionalText(from, "netns");
  if (add.kind == "macvlan") {
    add.mode = OptionalName(input, from, "mode", kMacvlanModes).value_or(MACVLAN_MODE_BRIDGE);
    Napi::Value cutoff = input.Get(from, "bclim");
    if (!cutoff.IsUndefined()) {
      add.bc_cutoff = static_cast<int32_t>(input.Integer(cutoff, "bclim", INT32_MIN, INT32_MAX));
    }
  } else if (add.kind == "ipvlan") {
    add.mode = OptionalName(input, from, "mode", kIpvlanModes).value_or(IPVLAN_MODE_L2);
  } else if (add.kind == "vlan") {
    add.vlan = static_cast<uint16_t>(input.Integer(input.Get(from, "vlan"), "vlan", 1, kLastTag));
  } else if (add.kind == "bridge") {
    add.vlan_filtering = input.OptionalFlag(from, "vlanFiltering");
  } else if (add.kind == "vxlan") {
    add.vxlan = ParseVxlan(input, input.Get(from, "vxlan"));
  }
  add.group = input.OptionalUint(from, "group");
  add.up = input.OptionalFlag(from, "up").value_or(false);
  add.peer = ParsePeer(input, input.Get(from, "peer"));
  if (add.peer && add.kind != "veth") input.WrongType("peer", "absent: only a veth has one");
  return add;
}

LinkSet ParseLinkSet(Input& input, Napi::Object from) {
  LinkSet set;
  set.name = input.Text(from, "name");
  set.rename = input.OptionalText(from, "rename");
  set.mac = input.OptionalMac(from, "mac");
  set.mtu = input.OptionalUint(from, "mtu");
  Napi::Value master = input.Get(from, "master");
  set.master = master.IsNull() ? "" : input.OptionalText(master, "master");
  if (set.master && set.master->empty() && !master.IsNull()) input.WrongType("master", "a link's name or null");
  set.group = input.OptionalUint(from, "group");
  set.alias = input.OptionalText(from, "alias");
  set.up = input.OptionalFlag(from, "up");
  set.no_link_local = input.OptionalFlag(from, "noLinkLocal");
  set.arp_notify = input.OptionalFlag(from, "arpNotify");
  set.hairpin = input.OptionalFlag(from, "hairpin");
  set.port_vlan = OptionalTag(input, from, "portVlan");
  set.self_vlan = OptionalTag(input, from, "selfVlan");
  set.netns = input.OptionalText(from, "netns");
  return set;
}

uint8_t ParsePrefix(Input& input, Napi::Object from, const IpAddress& address) {
  return static_cast<uint8_t>(input.Uint(from, "prefix", address.bits()));
}

AddressChange ParseAddressChange(Input& input, Napi::Object from, bool add) {
  AddressChange change;
  change.add = add;
  change.link = input.Text(from, "link");
  change.address = input.Address(from, "address");
  change.prefix = ParsePrefix(input, from, change.address);
  change.broadcast = input.OptionalAddress(from, "broadcast");
  if (change.broadcast && (change.broadcast->family != AF_INET || change.address.family != AF_INET)) {
    input.Invalid("broadcast", FormatIpAddress(change.broadcast->family, change.broadcast->bytes.data()));
  }
  return change;
}

RouteChange ParseRouteChange(Input& input, Napi::Object from, RouteChange::Verb verb) {
  RouteChange change;
  change.verb = verb;
  change.destination = input.Address(from, "destination");
  change.prefix = ParsePrefix(input, from, change.destination);
  change.gateway = input.OptionalAddress(from, "gateway");
  if (change.gateway && change.gateway->family == AF_INET && change.destination.family == AF_INET6) {
    input.Invalid("gateway", FormatIpAddress(AF_INET, change.gateway->bytes.data()));
  }
  change.link = input.OptionalText(from, "link");
  change.metric = input.OptionalUint(from, "metric");
  change.table = input.OptionalUint(from, "table");
  change.type = OptionalName(input, from, "type", kRouteTypes);
  change.scope = OptionalName(input, from, "scope", kRouteScopes);
  change.protocol = OptionalProtocol(input, from);
  change.onlink = input.OptionalFlag(from, "onlink").value_or(false);
  return change;
}

NeighbourChange ParseNeighbourChange(Input& input, Napi::Object from, bool replace) {
  NeighbourChange change;
  change.replace = replace;
  change.link = input.Text(from, "link");
  change.address = input.Address(from, "address");
  change.mac = input.OptionalMac(from, "mac");
  change.protocol = OptionalProtocol(input, from);
  return change;
}

FdbChange ParseFdbChange(Input& input, Napi::Object from, bool replace) {
  FdbChange change;
  change.replace = replace;
  change.link = input.Text(from, "link");
  std::optional<MacAddress> mac = input.OptionalMac(from, "mac");
  if (!mac) input.WrongType("mac", "a MAC address");
  change.mac = mac.value_or(MacAddress{});
  change.destination = input.Address(from, "destination");
  return change;
}

RuleChange ParseRuleChange(Input& input, Napi::Object from, bool add) {
  RuleChange change;
  change.add = add;
  change.source = input.Address(from, "source");
  change.prefix = ParsePrefix(input, from, change.source);
  change.table = input.Uint(from, "table");
  change.priority = input.Uint(from, "priority");
  return change;
}

RtnlRequest ParseRequest(Input& input, Napi::Object from) {
  std::string op = input.Text(from, "op");
  if (op == "link.add") return ParseLinkAdd(input, from);
  if (op == "link.set") return ParseLinkSet(input, from);
  if (op == "link.del") return LinkDel{input.Text(from, "name")};
  if (op == "link.delGroup") return LinkDelGroup{input.Uint(from, "group")};
  if (op == "address.add" || op == "address.del") return ParseAddressChange(input, from, op == "address.add");
  if (op == "route.add") return ParseRouteChange(input, from, RouteChange::Verb::kAdd);
  if (op == "route.replace") return ParseRouteChange(input, from, RouteChange::Verb::kReplace);
  if (op == "route.del") return ParseRouteChange(input, from, RouteChange::Verb::kDel);
  if (op == "neighbour.replace") return ParseNeighbourChange(input, from, true);
  if (op == "neighbour.del") return ParseNeighbourChange(input, from, false);
  if (op == "fdb.replace" || op == "fdb.del") return ParseFdbChange(input, from, op == "fdb.replace");
  if (op == "rule.add" || op == "rule.del") return ParseRuleChange(input, from, op == "rule.add");
  input.WrongType("op", "one of RtnlRequest's");
  return LinkDel{};
}

}  // namespace

std::vector<RtnlRequest> ParseRtnlRequests(Input& input, Napi::Value value) {
  std::vector<RtnlRequest> requests;
  for (Napi::Value item : input.Items(value, "requests")) {
    requests.push_back(ParseRequest(input, input.Object(item, "request")));
    if (!input.ok()) break;
  }
  return requests;
}

std::string RouteTypeName(uint8_t type) {
  for (const Name& name : kRouteTypes) {
    if (name.value == type) return name.text;
  }
  return std::to_string(type);
}

}  // namespace cleat
