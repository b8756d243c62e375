// rtnl-decode.cc: see rtnl-decode.h.
#include "rtnl-decode.h"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "address.h"
#include "rtnl-request.h"

namespace cleat {

namespace {

// The attributes in some bytes, for range-for (libmnl's macros are C: they lean on void* converting by itself).
class Attributes {
 public:
  Attributes(const void* first, size_t size) : first_(first), size_(static_cast<int>(size)) {}

  struct Iterator {
    const nlattr* attr;
    int left;
    const nlattr* operator*() const { return attr; }
    void operator++() {
      left -= MNL_ALIGN(attr->nla_len);
      attr = mnl_attr_next(attr);
    }
    bool operator!=(std::nullptr_t) const { return mnl_attr_ok(attr, left); }
  };
  Iterator begin() const { return {static_cast<const nlattr*>(first_), size_}; }
  std::nullptr_t end() const { return nullptr; }

 private:
  const void* const first_;
  const int size_;
};

Attributes AttributesAfter(const nlmsghdr* message, size_t header) {
  size_t payload = mnl_nlmsg_get_payload_len(message);
  size_t offset = std::min<size_t>(MNL_ALIGN(header), payload);
  return {static_cast<const char*>(mnl_nlmsg_get_payload(message)) + offset, payload - offset};
}

const void* Bytes(const nlattr* attr, size_t at_least) {
  return mnl_attr_get_payload_len(attr) >= at_least ? mnl_attr_get_payload(attr) : nullptr;
}

uint32_t Number(const nlattr* attr) {
  uint32_t number = 0;
  if (const void* bytes = Bytes(attr, sizeof number)) memcpy(&number, bytes, sizeof number);
  return number;
}

// Strings may end in a NUL byte or not (IFLA_IFALIAS does not count on it).
std::string Text(const nlattr* attr) {
  const char* text = static_cast<const char*>(mnl_attr_get_payload(attr));
  return std::string(text, strnlen(text, mnl_attr_get_payload_len(attr)));
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
const Header* HeaderOf(const nlmsghdr* message, uint16_t added, uint16_t deleted) {
  if (message->nlmsg_type != added && message->nlmsg_type != deleted) return nullptr;
  if (mnl_nlmsg_get_payload_len(message) < sizeof(Header)) return nullptr;
  return static_cast<const Header*>(mnl_nlmsg_get_payload(message));
}

std::string KindOf(const nlattr* link_info) {
  for (const nlattr* attr : Attributes(mnl_attr_get_payload(link_info), mnl_attr_get_payload_len(link_info))) {
    if (mnl_attr_get_type(attr) == IFLA_INFO_KIND) return Text(attr);
  }
  return "";
}

// An IPv4 route over an IPv6 next hop (struct rtvia).
std::optional<std::string> Via(const nlattr* attr) {
  uint16_t family = 0;
  const void* bytes = Bytes(attr, sizeof family);
  if (bytes == nullptr) return std::nullopt;
  memcpy(&family, bytes, sizeof family);
  if (!IsInternet(family) || Bytes(attr, sizeof family + (family == AF_INET ? 4 : 16)) == nullptr) return std::nullopt;
  return FormatIpAddress(family, static_cast<const char*>(bytes) + sizeof family);
}

bool DecodeLinkOf(unsigned char family, const nlmsghdr* message, LinkFacts* link) {
  const auto* info = HeaderOf<ifinfomsg>(message, RTM_NEWLINK, RTM_DELLINK);
  if (info == nullptr || info->ifi_family != family) return false;
  link->index = info->ifi_index;
  link->up = (info->ifi_flags & IFF_UP) != 0;
  link->lower_up = (info->ifi_flags & IFF_LOWER_UP) != 0;
  for (const nlattr* attr : AttributesAfter(message, sizeof *info)) {
    switch (mnl_attr_get_type(attr)) {
      case IFLA_IFNAME:
        link->name = Text(attr);
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
        link->alias = Text(attr);
        break;
      case IFLA_LINKINFO:
        link->kind = KindOf(attr);
        break;
      case IFLA_STATS64:
        // Grows with the kernel: take what both sides know.
        memcpy(&link->statistics, mnl_attr_get_payload(attr),
               std::min<size_t>(mnl_attr_get_payload_len(attr), sizeof link->statistics));
        break;
    }
  }
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
  const auto* info = HeaderOf<ifaddrmsg>(message, RTM_NEWADDR, RTM_DELADDR);
  if (info == nullptr || !IsInternet(info->ifa_family)) return false;
  address->link = info->ifa_index;
  address->prefix = info->ifa_prefixlen;
  address->scope = info->ifa_scope;
  uint32_t flags = info->ifa_flags;
  std::string local;
  for (const nlattr* attr : AttributesAfter(message, sizeof *info)) {
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
  }
  // On a point-to-point link IFA_ADDRESS is the other end's, IFA_LOCAL ours (linux/if_addr.h).
  if (!local.empty()) address->address = local;
  address->tentative = (flags & IFA_F_TENTATIVE) != 0;
  return true;
}

bool DecodeRoute(const nlmsghdr* message, RouteFacts* route) {
  const auto* info = HeaderOf<rtmsg>(message, RTM_NEWROUTE, RTM_DELROUTE);
  if (info == nullptr || !IsInternet(info->rtm_family)) return false;
  route->destination = AnyAddress(info->rtm_family);
  route->prefix = info->rtm_dst_len;
  route->table = info->rtm_table;
  route->type = info->rtm_type;
  route->protocol = info->rtm_protocol;
  for (const nlattr* attr : AttributesAfter(message, sizeof *info)) {
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
  }
  return true;
}

bool DecodeNeighbour(const nlmsghdr* message, NeighbourFacts* neighbour) {
  const auto* info = HeaderOf<ndmsg>(message, RTM_NEWNEIGH, RTM_DELNEIGH);
  if (info == nullptr || !IsInternet(info->ndm_family)) return false;
  neighbour->link = info->ndm_ifindex;
  neighbour->state = info->ndm_state;
  for (const nlattr* attr : AttributesAfter(message, sizeof *info)) {
    switch (mnl_attr_get_type(attr)) {
      case NDA_DST:
        neighbour->address = Ip(info->ndm_family, attr);
        break;
      case NDA_LLADDR:
        neighbour->mac = FormatMacAddress(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
        break;
    }
  }
  return true;
}

static Napi::Value Count(Napi::Env env, uint64_t count) {
  return Napi::Number::New(env, static_cast<double>(count));
}

Napi::Value ToValue(Napi::Env env, const LinkFacts& link) {
  Napi::Object statistics = Napi::Object::New(env);
  statistics.Set("rxBytes", Count(env, link.statistics.rx_bytes));
  statistics.Set("rxPackets", Count(env, link.statistics.rx_packets));
  statistics.Set("rxErrors", Count(env, link.statistics.rx_errors));
  statistics.Set("rxDropped", Count(env, link.statistics.rx_dropped));
  statistics.Set("txBytes", Count(env, link.statistics.tx_bytes));
  statistics.Set("txPackets", Count(env, link.statistics.tx_packets));
  statistics.Set("txErrors", Count(env, link.statistics.tx_errors));
  statistics.Set("txDropped", Count(env, link.statistics.tx_dropped));
  Napi::Object object = Napi::Object::New(env);
  object.Set("index", link.index);
  object.Set("name", link.name);
  object.Set("kind", link.kind);
  object.Set("mac", link.mac);
  object.Set("mtu", link.mtu);
  object.Set("up", Napi::Boolean::New(env, link.up));
  object.Set("lowerUp", Napi::Boolean::New(env, link.lower_up));
  object.Set("master", link.master);
  object.Set("link", link.link);
  object.Set("netnsId", link.netns_id ? Napi::Value(Napi::Number::New(env, *link.netns_id)) : env.Null());
  object.Set("group", link.group);
  object.Set("alias", link.alias);
  object.Set("statistics", statistics);
  return object;
}

Napi::Value ToValue(Napi::Env env, const AddressFacts& address) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("link", address.link);
  object.Set("address", address.address);
  object.Set("prefix", static_cast<uint32_t>(address.prefix));
  object.Set("scope", static_cast<uint32_t>(address.scope));
  object.Set("tentative", Napi::Boolean::New(env, address.tentative));
  return object;
}

Napi::Value ToValue(Napi::Env env, const RouteFacts& route) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("destination", route.destination);
  object.Set("prefix", static_cast<uint32_t>(route.prefix));
  object.Set("gateway", route.gateway ? Napi::Value(Napi::String::New(env, *route.gateway)) : env.Null());
  object.Set("link", route.link);
  object.Set("metric", route.metric);
  object.Set("table", route.table);
  object.Set("type", RouteTypeName(route.type));
  object.Set("protocol", static_cast<uint32_t>(route.protocol));
  return object;
}

Napi::Value ToValue(Napi::Env env, const NeighbourFacts& neighbour) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("link", neighbour.link);
  object.Set("address", neighbour.address);
  object.Set("mac", neighbour.mac);
  object.Set("state", static_cast<uint32_t>(neighbour.state));
  return object;
}

}  // namespace cleat
