// rtnl-encode.cc: RtnlRequest to rtnetlink messages (rtnl-request.h; rtnetlink(7), linux/if_link.h).
//
// Guarantees: everything that can fail here fails before the first byte of the request is appended.
// Limits: a vxlan without options has VNI 0.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <algorithm>
#include <cerrno>

#include "../namespaces/nsfile.h"
#include "rtnl-batch.h"
#include "rtnl-request.h"

namespace cleat {

namespace {

constexpr size_t kMaxAlias = 255;  // IFALIASZ - 1

int CheckName(const std::string& name) {
  if (name.size() >= IFNAMSIZ) return ENAMETOOLONG;
  return name.empty() ? EINVAL : 0;
}

// The kernel takes '%' in a new name for a template ("veth%d", __dev_alloc_name) and would choose the name itself.
int CheckNewName(const std::string& name) {
  if (int error = CheckName(name)) return error;
  return name.find('%') == std::string::npos ? 0 : EINVAL;
}

int OpenForBatch(const std::string& path, RtnlBatch& batch, int* fd) {
  UniqueFd netns;
  if (Failure failure = OpenNetns(path, &netns)) return failure.error;
  *fd = netns.get();
  batch.Keep(std::move(netns));
  return 0;
}

void PutAddress(nlmsghdr* message, uint16_t type, const IpAddress& address) {
  mnl_attr_put(message, type, address.size(), address.bytes.data());
}

void PutHardware(nlmsghdr* message, const std::optional<MacAddress>& mac, const std::optional<uint32_t>& mtu) {
  if (mac) mnl_attr_put(message, IFLA_ADDRESS, mac->size(), mac->data());
  if (mtu) mnl_attr_put_u32(message, IFLA_MTU, *mtu);
}

// One queue each way. By default the kernel gives a veth one for every possible CPU and registers each in sysfs, 150 us
// of the 520 that a pair costs. More queues serve XDP and GRO alone, and frames take no lock of a queue
// (drivers/net/veth.c).
void PutQueues(nlmsghdr* message) {
  mnl_attr_put_u32(message, IFLA_NUM_TX_QUEUES, 1);
  mnl_attr_put_u32(message, IFLA_NUM_RX_QUEUES, 1);
}

void PutPeer(nlmsghdr* message, const LinkPeer& peer, int netns) {
  nlattr* nest = mnl_attr_nest_start(message, VETH_INFO_PEER);
  // The peer's own ifinfomsg comes first, its attributes behind it (veth_newlink in drivers/net/veth.c).
  // It has no IFF_UP: the peer is configured before the two are joined, and veth_open then fails with ENOTCONN.
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  mnl_attr_put_strz(message, IFLA_IFNAME, peer.name.c_str());
  PutHardware(message, peer.mac, peer.mtu);
  PutQueues(message);
  mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(netns));
  mnl_attr_nest_end(message, nest);
}

// Since Linux 6.4; the headers of Debian 12 are older. An older kernel ignores it.
constexpr uint16_t kMacvlanBcCutoff = 9;  // IFLA_MACVLAN_BC_CUTOFF

// Neither learns from packets nor asks anybody where a MAC is: both let whoever sends a packet decide where others' go.
void PutVxlan(nlmsghdr* message, const Vxlan& vxlan) {
  const bool v6 = vxlan.local.family == AF_INET6;
  mnl_attr_put_u32(message, IFLA_VXLAN_ID, vxlan.vni);
  PutAddress(message, v6 ? IFLA_VXLAN_LOCAL6 : IFLA_VXLAN_LOCAL, vxlan.local);
  mnl_attr_put_u16(message, IFLA_VXLAN_PORT, htons(vxlan.port));
  mnl_attr_put_u8(message, IFLA_VXLAN_LEARNING, 0);
}

// Encodes the part that the kind of the link understands. The widths are those of the kernel's policies
// (macvlan_policy, ipvlan_nl_policy, vlan_policy).
void PutKindData(nlmsghdr* message, const LinkAdd& add, int peer_netns) {
  if (add.peer) PutPeer(message, *add.peer, peer_netns);
  if (add.kind == "macvlan") {
    mnl_attr_put_u32(message, IFLA_MACVLAN_MODE, add.mode);
    if (add.bc_cutoff) mnl_attr_put_u32(message, kMacvlanBcCutoff, static_cast<uint32_t>(*add.bc_cutoff));
  } else if (add.kind == "ipvlan") {
    mnl_attr_put_u16(message, IFLA_IPVLAN_MODE, static_cast<uint16_t>(add.mode));
    mnl_attr_put_u16(message, IFLA_IPVLAN_FLAGS, 0);  // neither private nor vepa, whatever the parent's others are
  } else if (add.kind == "vlan") {
    mnl_attr_put_u16(message, IFLA_VLAN_ID, add.vlan);
  } else if (add.vxlan) {
    PutVxlan(message, *add.vxlan);
  } else if (add.vlan_filtering) {
    mnl_attr_put_u8(message, IFLA_BR_VLAN_FILTERING, *add.vlan_filtering ? 1 : 0);
  }
}

int Encode(const LinkAdd& add, RtnlBatch& batch) {
  int master = 0;
  int parent = 0;
  int netns = -1;
  int peer_netns = -1;
  if (int error = CheckNewName(add.name)) return error;
  if (add.peer) {
    if (int error = CheckNewName(add.peer->name)) return error;
  }
  if (add.master) {
    if (int error = batch.IndexOf(*add.master, &master)) return error;
  }
  if (add.parent) {
    if (int error = batch.IndexOf(*add.parent, &parent)) return error;
  }
  if (add.netns) {
    if (int error = OpenForBatch(*add.netns, batch, &netns)) return error;
  }
  if (add.peer) {
    if (int error = OpenForBatch(add.peer->netns, batch, &peer_netns)) return error;
  }
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &info);
  batch.NamesChange();
  if (add.up) info->ifi_flags = info->ifi_change = IFF_UP;
  mnl_attr_put_strz(message, IFLA_IFNAME, add.name.c_str());
  PutHardware(message, add.mac, add.mtu);
  if (add.kind == "veth") PutQueues(message);
  if (master != 0) mnl_attr_put_u32(message, IFLA_MASTER, static_cast<uint32_t>(master));
  // Without IFLA_LINK_NETNSID the kernel makes the link in IFLA_NET_NS_FD at once, and looks for its parent here
  // (rtnl_newlink_create). With it, the link would be made here and moved there.
  if (parent != 0) mnl_attr_put_u32(message, IFLA_LINK, static_cast<uint32_t>(parent));
  if (netns >= 0) mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(netns));
  if (add.group) mnl_attr_put_u32(message, IFLA_GROUP, *add.group);
  nlattr* link_info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_str(message, IFLA_INFO_KIND, add.kind.c_str());
  // Some kinds insist on this attribute, empty or not (vxlan_validate).
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  PutKindData(message, add, peer_netns);
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, link_info);
  if (add.peer && add.peer->up) batch.BringUpAfter(add.peer->name, peer_netns);
  return 0;
}

// Uses a message of its own, before the one that may bring the link up: do_setlink changes flags before IFLA_AF_SPEC,
// so one message for both would make the unwanted address.
void EncodeLinkLocal(const LinkSet& set, RtnlBatch& batch) {
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_SETLINK, 0, &info);
  mnl_attr_put_strz(message, IFLA_IFNAME, set.name.c_str());
  nlattr* families = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  nlattr* inet6 = mnl_attr_nest_start(message, AF_INET6);
  mnl_attr_put_u8(message, IFLA_INET6_ADDR_GEN_MODE,
                  *set.no_link_local ? IN6_ADDR_GEN_MODE_NONE : IN6_ADDR_GEN_MODE_EUI64);
  mnl_attr_nest_end(message, inet6);
  mnl_attr_nest_end(message, families);
}

// Uses a message of its own, before the one that may set the MAC: do_setlink changes the MAC before IFLA_AF_SPEC, so
// one message for both would announce nothing. It cannot set the switches of IPv6 (inet6_set_link_af).
void EncodeArpNotify(const LinkSet& set, RtnlBatch& batch) {
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_SETLINK, 0, &info);
  mnl_attr_put_strz(message, IFLA_IFNAME, set.name.c_str());
  nlattr* families = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  nlattr* inet = mnl_attr_nest_start(message, AF_INET);
  nlattr* switches = mnl_attr_nest_start(message, IFLA_INET_CONF);
  mnl_attr_put_u32(message, IPV4_DEVCONF_ARP_NOTIFY, *set.arp_notify ? 1 : 0);
  mnl_attr_nest_end(message, switches);
  mnl_attr_nest_end(message, inet);
  mnl_attr_nest_end(message, families);
}

// Changes an attribute of a bridge port by RTM_NEWLINK on a link that exists (__rtnl_newlink, slave_changelink). That
// takes a name, where the family of bridges would need an index and so a link that is there already.
void EncodeHairpin(const LinkSet& set, RtnlBatch& batch) {
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_NEWLINK, 0, &info);
  mnl_attr_put_strz(message, IFLA_IFNAME, set.rename ? set.rename->c_str() : set.name.c_str());
  nlattr* link_info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_str(message, IFLA_INFO_SLAVE_KIND, "bridge");
  nlattr* port = mnl_attr_nest_start(message, IFLA_INFO_SLAVE_DATA);
  mnl_attr_put_u8(message, IFLA_BRPORT_MODE, *set.hairpin ? 1 : 0);
  mnl_attr_nest_end(message, port);
  mnl_attr_nest_end(message, link_info);
}

// Uses the family of bridges, which alone knows the tags of ports (rtnl_bridge_setlink, br_setlink).
void EncodeBridgeVlan(int index, uint16_t vid, bool self, RtnlBatch& batch) {
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_SETLINK, 0, &info);
  info->ifi_family = AF_BRIDGE;
  info->ifi_index = index;
  nlattr* spec = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  if (self) mnl_attr_put_u16(message, IFLA_BRIDGE_FLAGS, BRIDGE_FLAGS_SELF);
  bridge_vlan_info tag{};
  tag.flags = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
  tag.vid = vid;
  mnl_attr_put(message, IFLA_BRIDGE_VLAN_INFO, sizeof tag, &tag);
  mnl_attr_nest_end(message, spec);
}

int Encode(const LinkSet& set, RtnlBatch& batch) {
  int master = 0;
  int index = 0;
  int netns = -1;
  if (int error = CheckName(set.name)) return error;
  if (set.alias && set.alias->size() > kMaxAlias) return EINVAL;
  int own_index = 0;
  if (set.port_vlan || set.self_vlan) {
    if (int error = batch.IndexOf(set.name, &own_index)) return error;
  }
  if (set.rename) {
    if (int error = CheckNewName(*set.rename)) return error;
    // Without an index IFLA_IFNAME selects the link, with one it is the new name (do_setlink).
    if (int error = batch.IndexOf(set.name, &index)) return error;
  }
  if (set.master && !set.master->empty()) {
    if (int error = batch.IndexOf(*set.master, &master)) return error;
  }
  if (set.netns) {
    if (int error = OpenForBatch(*set.netns, batch, &netns)) return error;
  }
  if (set.no_link_local) EncodeLinkLocal(set, batch);
  if (set.arp_notify) EncodeArpNotify(set, batch);
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_SETLINK, 0, &info);
  if (set.rename || set.netns) batch.NamesChange();
  info->ifi_index = index;
  if (set.up) {
    info->ifi_change = IFF_UP;
    info->ifi_flags = *set.up ? IFF_UP : 0;
  }
  mnl_attr_put_strz(message, IFLA_IFNAME, set.rename ? set.rename->c_str() : set.name.c_str());
  PutHardware(message, set.mac, set.mtu);
  if (set.master) mnl_attr_put_u32(message, IFLA_MASTER, static_cast<uint32_t>(master));
  if (set.group) mnl_attr_put_u32(message, IFLA_GROUP, *set.group);
  if (set.alias) mnl_attr_put_str(message, IFLA_IFALIAS, set.alias->c_str());
  if (set.netns) mnl_attr_put_u32(message, IFLA_NET_NS_FD, static_cast<uint32_t>(netns));
  if (set.hairpin) EncodeHairpin(set, batch);  // after the master: only a port has it
  if (set.port_vlan) EncodeBridgeVlan(own_index, *set.port_vlan, false, batch);
  if (set.self_vlan) EncodeBridgeVlan(own_index, *set.self_vlan, true, batch);
  return 0;
}

int Encode(const LinkDel& del, RtnlBatch& batch) {
  if (int error = CheckName(del.name)) return error;
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_DELLINK, 0, &info);
  batch.NamesChange();
  mnl_attr_put_strz(message, IFLA_IFNAME, del.name.c_str());
  return 0;
}

int Encode(const LinkDelGroup& del, RtnlBatch& batch) {
  ifinfomsg* info;
  nlmsghdr* message = batch.Add(RTM_DELLINK, 0, &info);
  batch.NamesChange();
  mnl_attr_put_u32(message, IFLA_GROUP, del.group);
  return 0;
}

int Encode(const AddressChange& change, RtnlBatch& batch) {
  int index = 0;
  if (int error = batch.IndexOf(change.link, &index)) return error;
  bool ipv4 = change.address.family == AF_INET;
  ifaddrmsg* info;
  nlmsghdr* message =
      change.add ? batch.Add(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &info) : batch.Add(RTM_DELADDR, 0, &info);
  info->ifa_family = static_cast<uint8_t>(change.address.family);
  info->ifa_prefixlen = change.prefix;
  info->ifa_index = static_cast<uint32_t>(index);
  // Only IPv4 lets the caller choose the scope; 127/8 is the host's own (RFC 1122), as in ip-address(8).
  info->ifa_scope = ipv4 && change.address.bytes[0] == 127 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
  // Skips duplicate address detection: the address is usable at once, and nobody else assigns our addresses.
  if (change.add && !ipv4) info->ifa_flags = IFA_F_NODAD;
  PutAddress(message, IFA_LOCAL, change.address);
  PutAddress(message, IFA_ADDRESS, change.address);
  if (change.broadcast) PutAddress(message, IFA_BROADCAST, *change.broadcast);
  return 0;
}

uint8_t RouteScope(const RouteChange& change, uint8_t type) {
  if (change.scope) return *change.scope;
  // The defaults of ip-route(8). NOWHERE matches any scope when deleting (fib_table_delete).
  if (change.verb == RouteChange::Verb::kDel) return RT_SCOPE_NOWHERE;
  if (type == RTN_LOCAL) return RT_SCOPE_HOST;
  return type == RTN_UNICAST && !change.gateway ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
}

int Encode(const RouteChange& change, RtnlBatch& batch) {
  int index = 0;
  if (change.link) {
    if (int error = batch.IndexOf(*change.link, &index)) return error;
  }
  bool del = change.verb == RouteChange::Verb::kDel;
  uint16_t flags = change.verb == RouteChange::Verb::kAdd       ? NLM_F_CREATE | NLM_F_EXCL
                   : change.verb == RouteChange::Verb::kReplace ? NLM_F_CREATE | NLM_F_REPLACE
                                                                : 0;
  rtmsg* info;
  nlmsghdr* message = batch.Add(del ? RTM_DELROUTE : RTM_NEWROUTE, flags, &info);
  // An unspecified type matches any when deleting.
  uint8_t type = change.type.value_or(del ? RTN_UNSPEC : RTN_UNICAST);
  uint32_t table = change.table.value_or(type == RTN_LOCAL ? RT_TABLE_LOCAL : RT_TABLE_MAIN);
  info->rtm_family = static_cast<uint8_t>(change.destination.family);
  info->rtm_dst_len = change.prefix;
  info->rtm_type = type;
  info->rtm_scope = RouteScope(change, type);
  // An unspecified protocol matches any when deleting.
  info->rtm_protocol = change.protocol.value_or(del ? RTPROT_UNSPEC : RTPROT_STATIC);
  if (change.onlink) info->rtm_flags |= RTNH_F_ONLINK;
  info->rtm_table = table < 256 ? static_cast<uint8_t>(table) : static_cast<uint8_t>(RT_TABLE_UNSPEC);
  if (table >= 256) mnl_attr_put_u32(message, RTA_TABLE, table);
  if (change.prefix != 0) PutAddress(message, RTA_DST, change.destination);
  if (change.gateway && change.gateway->family == change.destination.family) {
    PutAddress(message, RTA_GATEWAY, *change.gateway);
  } else if (change.gateway) {
    // An IPv4 route over an IPv6 next hop: struct rtvia, a 2-byte family and the address (RFC 5549).
    struct {
      uint16_t family;
      uint8_t address[16];
    } via{AF_INET6, {}};
    std::copy(change.gateway->bytes.begin(), change.gateway->bytes.end(), via.address);
    mnl_attr_put(message, RTA_VIA, sizeof via, &via);
  }
  if (index != 0) mnl_attr_put_u32(message, RTA_OIF, static_cast<uint32_t>(index));
  if (change.metric) mnl_attr_put_u32(message, RTA_PRIORITY, *change.metric);
  return 0;
}

int Encode(const NeighbourChange& change, RtnlBatch& batch) {
  int index = 0;
  if (change.replace && !change.mac) return EINVAL;
  if (int error = batch.IndexOf(change.link, &index)) return error;
  ndmsg* info;
  // Replaced, not added: the kernel may have an entry of its own making by then (neigh_add in net/core/neighbour.c).
  nlmsghdr* message =
      change.replace ? batch.Add(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &info) : batch.Add(RTM_DELNEIGH, 0, &info);
  info->ndm_family = static_cast<uint8_t>(change.address.family);
  info->ndm_ifindex = index;
  info->ndm_state = NUD_PERMANENT;
  PutAddress(message, NDA_DST, change.address);
  if (change.mac) mnl_attr_put(message, NDA_LLADDR, change.mac->size(), change.mac->data());
  if (change.protocol) mnl_attr_put_u8(message, NDA_PROTOCOL, *change.protocol);
  return 0;
}

// The forwarding table of the link itself (NTF_SELF), not that of a bridge it is a port of. It keeps no protocol.
int Encode(const FdbChange& change, RtnlBatch& batch) {
  int index = 0;
  if (int error = batch.IndexOf(change.link, &index)) return error;
  ndmsg* info;
  nlmsghdr* message =
      change.replace ? batch.Add(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &info) : batch.Add(RTM_DELNEIGH, 0, &info);
  info->ndm_family = AF_BRIDGE;
  info->ndm_ifindex = index;
  info->ndm_state = NUD_PERMANENT | NUD_NOARP;
  info->ndm_flags = NTF_SELF;
  mnl_attr_put(message, NDA_LLADDR, change.mac.size(), change.mac.data());
  PutAddress(message, NDA_DST, change.destination);
  return 0;
}

int Encode(const RuleChange& change, RtnlBatch& batch) {
  fib_rule_hdr* info;
  nlmsghdr* message =
      change.add ? batch.Add(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, &info) : batch.Add(RTM_DELRULE, 0, &info);
  info->family = static_cast<uint8_t>(change.source.family);
  info->action = FR_ACT_TO_TBL;
  info->src_len = change.prefix;
  mnl_attr_put_u32(message, FRA_TABLE, change.table);
  mnl_attr_put_u32(message, FRA_PRIORITY, change.priority);
  mnl_attr_put_u8(message, FRA_PROTOCOL, RTPROT_STATIC);
  if (change.prefix != 0) PutAddress(message, FRA_SRC, change.source);
  return 0;
}

}  // namespace

int EncodeRtnlRequest(const RtnlRequest& request, RtnlBatch& batch) {
  return std::visit([&](const auto& one) { return Encode(one, batch); }, request);
}

}  // namespace cleat
