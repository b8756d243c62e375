// rtnl-decode.cc: see rtnl-decode.h.
#include "rtnl-decode.h"

#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstring>

#include "../netlink/address.h"
#include "../netlink/nlattr.h"

namespace cleat {

namespace {

const void* Bytes(const nlattr* attr, size_t at_least) {
  return mnl_attr_get_payload_len(attr) >= at_least ? mnl_attr_get_payload(attr) : nullptr;
}

uint32_t Number(const nlattr* attr) {
  return NumberOf<uint32_t>(attr).value_or(0);
}

std::string Ip(int family, const nlattr* attr) {
  const void* bytes = Bytes(attr, family == AF_INET ? 4 : 16);
  return bytes != nullptr ? FormatIpAddress(family, bytes) : "";
}

bool IsInternet(int family) {
  return family == AF_INET || family == AF_INET6;
}

const char* AnyAddress(int family) {
  return family == AF_INET ? "0.0.0.0" : "::";
}

template <typename Header>
const Header* InfoOf(const nlmsghdr* message, uint16_t added, uint16_t deleted) {
  if (message->nlmsg_type != added && message->nlmsg_type != deleted) return nullptr;
  return HeaderOf<Header>(message);
}

VxlanFacts VxlanOf(const nlattr* data) {
  VxlanFacts vxlan;
  EachAttribute(data, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case IFLA_VXLAN_ID:
        vxlan.vni = Number(attr);
        break;
      case IFLA_VXLAN_LOCAL:
        vxlan.local = Ip(AF_INET, attr);
        break;
      case IFLA_VXLAN_LOCAL6:
        vxlan.local = Ip(AF_INET6, attr);
        break;
      case IFLA_VXLAN_PORT:
        vxlan.port = ntohs(NumberOf<uint16_t>(attr).value_or(0));
        break;
      case IFLA_VXLAN_LEARNING:
        vxlan.learning = NumberOf<uint8_t>(attr).value_or(0) != 0;
        break;
    }
  });
  return vxlan;
}

// The kernel writes the kind before its data (rtnl_link_info_fill).
void DecodeKind(const nlattr* link_info, LinkFacts* link) {
  EachAttribute(link_info, [&](const nlattr* attr) {
    if (mnl_attr_get_type(attr) == IFLA_INFO_KIND) link->kind = TextOf(attr);
    if (mnl_attr_get_type(attr) == IFLA_INFO_DATA && link->kind == "vxlan") link->vxlan = VxlanOf(attr);
  });
}

// Returns the next hop of an IPv4 route over IPv6 (struct rtvia).
std::optional<std::string> Via(const nlattr* attr) {
  uint16_t family = 0;
  const void* bytes = Bytes(attr, sizeof family);
  if (bytes == nullptr) return std::nullopt;
  memcpy(&family, bytes, sizeof family);
  if (!IsInternet(family) || Bytes(attr, sizeof family + (family == AF_INET ? 4 : 16)) == nullptr) return std::nullopt;
  return FormatIpAddress(family, static_cast<const char*>(bytes) + sizeof family);
}

bool DecodeLinkOf(unsigned char family, const nlmsghdr* message, LinkFacts* link) {
  const auto* info = InfoOf<ifinfomsg>(message, RTM_NEWLINK, RTM_DELLINK);
  if (info == nullptr || info->ifi_family != family) return false;
  link->index = info->ifi_index;
  link->up = (info->ifi_flags & IFF_UP) != 0;
  link->lower_up = (info->ifi_flags & IFF_LOWER_UP) != 0;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case IFLA_IFNAME:
        link->name = TextOf(attr);
        break;
      case IFLA_ADDRESS:
        link->mac = FormatMacAddress(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
        break;
      case IFLA_MTU:
        link->mtu = Number(attr);
        break;
      case IFLA_MASTER:
        link->master = Number(attr);
        break;
      case IFLA_OPERSTATE:
        link->operational = NumberOf<uint8_t>(attr) == IF_OPER_UP;
        break;
      case IFLA_LINK:
        link->link = Number(attr);
        break;
      case IFLA_LINK_NETNSID:
        // Negative: the kernel could not give one (rtnl_fill_link_netnsid).
        if (int nsid = static_cast<int>(Number(attr)); nsid >= 0) link->netns_id = nsid;
        break;
      case IFLA_GROUP:
        link->group = Number(attr);
        break;
      case IFLA_IFALIAS:
        link->alias = TextOf(attr);
        break;
      case IFLA_LINKINFO:
        DecodeKind(attr, link);
        break;
      case IFLA_STATS64:
        // The struct grows with the kernel: copy the part that both sides know.
        memcpy(&link->statistics, mnl_attr_get_payload(attr),
               std::min<size_t>(mnl_attr_get_payload_len(attr), sizeof link->statistics));
        break;
    }
  });
  return true;
}

}  // namespace

bool DecodeLink(const nlmsghdr* message, LinkFacts* link) {
  return DecodeLinkOf(AF_UNSPEC, message, link);
}

bool DecodePort(const nlmsghdr* message, LinkFacts* port) {
  return DecodeLinkOf(AF_BRIDGE, message, port);
}

bool DecodeAddress(const nlmsghdr* message, AddressFacts* address) {
  const auto* info = InfoOf<ifaddrmsg>(message, RTM_NEWADDR, RTM_DELADDR);
  if (info == nullptr || !IsInternet(info->ifa_family)) return false;
  address->link = info->ifa_index;
  address->prefix = info->ifa_prefixlen;
  address->scope = info->ifa_scope;
  uint32_t flags = info->ifa_flags;
  std::string local;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case IFA_LOCAL:
        local = Ip(info->ifa_family, attr);
        break;
      case IFA_ADDRESS:
        address->address = Ip(info->ifa_family, attr);
        break;
      case IFA_FLAGS:
        flags = Number(attr);
        break;
    }
  });
  // On a point-to-point link IFA_ADDRESS is the other end's, IFA_LOCAL ours (linux/if_addr.h).
  if (!local.empty()) address->address = local;
  address->tentative = (flags & IFA_F_TENTATIVE) != 0;
  return true;
}

bool DecodeRoute(const nlmsghdr* message, RouteFacts* route) {
  const auto* info = InfoOf<rtmsg>(message, RTM_NEWROUTE, RTM_DELROUTE);
  if (info == nullptr || !IsInternet(info->rtm_family) || (info->rtm_flags & RTM_F_CLONED) != 0) return false;
  route->destination = AnyAddress(info->rtm_family);
  route->prefix = info->rtm_dst_len;
  route->table = info->rtm_table;
  route->type = info->rtm_type;
  route->protocol = info->rtm_protocol;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case RTA_DST:
        route->destination = Ip(info->rtm_family, attr);
        break;
      case RTA_GATEWAY:
        route->gateway = Ip(info->rtm_family, attr);
        break;
      case RTA_VIA:
        route->gateway = Via(attr);
        break;
      case RTA_OIF:
        route->link = Number(attr);
        break;
      case RTA_PRIORITY:
        route->metric = Number(attr);
        break;
      case RTA_TABLE:
        route->table = Number(attr);
        break;
    }
  });
  return true;
}

bool DecodeWay(const nlmsghdr* message, WayFacts* way) {
  const auto* info = InfoOf<rtmsg>(message, RTM_NEWROUTE, RTM_DELROUTE);
  if (info == nullptr || !IsInternet(info->rtm_family)) return false;
  way->table = info->rtm_table;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case RTA_TABLE:
        way->table = Number(attr);
        break;
      case RTA_OIF:
        way->link = static_cast<int>(Number(attr));
        break;
      case RTA_GATEWAY:
        way->gateway = Ip(info->rtm_family, attr);
        break;
      case RTA_VIA:
        way->gateway = Via(attr);
        break;
      case RTA_METRICS:
        EachAttribute(attr, [&](const nlattr* metric) {
          if (mnl_attr_get_type(metric) == RTAX_MTU) way->mtu = Number(metric);
        });
        break;
    }
  });
  return way->link != 0;
}

bool DecodeRule(const nlmsghdr* message, RuleFacts* rule) {
  const auto* info = InfoOf<fib_rule_hdr>(message, RTM_NEWRULE, RTM_DELRULE);
  if (info == nullptr || !IsInternet(info->family)) return false;
  rule->family = info->family;
  rule->action = info->action;
  rule->table = info->table;
  rule->source = rule->destination = AnyAddress(info->family);
  rule->source_prefix = info->src_len;
  rule->prefix = info->dst_len;
  rule->inverted = (info->flags & FIB_RULE_INVERT) != 0;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case FRA_SRC:
        rule->source = Ip(info->family, attr);
        break;
      case FRA_DST:
        rule->destination = Ip(info->family, attr);
        break;
      case FRA_PRIORITY:
        rule->priority = Number(attr);
        break;
      case FRA_TABLE:
        rule->table = Number(attr);
        break;
      case FRA_SUPPRESS_PREFIXLEN:
        // -1 for none (fib_nl_fill_rule).
        if (uint32_t prefix = Number(attr); prefix != UINT32_MAX) rule->suppress_prefix = prefix;
        break;
    }
  });
  return true;
}

static bool SameBits(const uint8_t* a, const uint8_t* b, unsigned bits) {
  const unsigned bytes = bits / 8;
  if (memcmp(a, b, bytes) != 0) return false;
  const unsigned rest = bits % 8;
  return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

bool RouteTouches(const nlmsghdr* message, const std::vector<Area>& areas) {
  const auto* info = InfoOf<rtmsg>(message, RTM_NEWROUTE, RTM_DELROUTE);
  if (info == nullptr || !IsInternet(info->rtm_family)) return false;
  const size_t size = info->rtm_family == AF_INET ? 4 : 16;
  if (info->rtm_dst_len > size * 8) return false;
  uint8_t destination[16] = {};
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    if (mnl_attr_get_type(attr) != RTA_DST) return;
    if (const void* bytes = Bytes(attr, size)) memcpy(destination, bytes, size);
  });
  return std::any_of(areas.begin(), areas.end(), [&](const Area& area) {
    return area.address.family == info->rtm_family &&
           SameBits(destination, area.address.bytes.data(), std::min(info->rtm_dst_len, area.prefix));
  });
}

bool RouteIsOf(const nlmsghdr* message, const std::vector<uint32_t>& tables) {
  const auto* info = InfoOf<rtmsg>(message, RTM_NEWROUTE, RTM_DELROUTE);
  if (info == nullptr) return false;
  uint32_t table = info->rtm_table;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    if (mnl_attr_get_type(attr) == RTA_TABLE) table = Number(attr);
  });
  return std::find(tables.begin(), tables.end(), table) != tables.end();
}

bool DecodeNeighbour(const nlmsghdr* message, NeighbourFacts* neighbour) {
  const auto* info = InfoOf<ndmsg>(message, RTM_NEWNEIGH, RTM_DELNEIGH);
  if (info == nullptr || !IsInternet(info->ndm_family)) return false;
  neighbour->link = info->ndm_ifindex;
  neighbour->state = info->ndm_state;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case NDA_DST:
        neighbour->address = Ip(info->ndm_family, attr);
        break;
      case NDA_LLADDR:
        neighbour->mac = FormatMacAddress(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
        break;
      case NDA_PROTOCOL:
        neighbour->protocol = NumberOf<uint8_t>(attr).value_or(0);
        break;
    }
  });
  return true;
}

bool DecodeFdb(const nlmsghdr* message, FdbFacts* entry) {
  const auto* info = InfoOf<ndmsg>(message, RTM_NEWNEIGH, RTM_DELNEIGH);
  if (info == nullptr || info->ndm_family != AF_BRIDGE) return false;
  EachAttribute(message, sizeof *info, [&](const nlattr* attr) {
    switch (mnl_attr_get_type(attr)) {
      case NDA_DST:
        entry->destination = Ip(mnl_attr_get_payload_len(attr) == 4 ? AF_INET : AF_INET6, attr);
        break;
      case NDA_LLADDR:
        entry->mac = FormatMacAddress(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
        break;
    }
  });
  return !entry->destination.empty();
}

}  // namespace cleat
