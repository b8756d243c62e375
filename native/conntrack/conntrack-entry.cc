// conntrack-entry.cc: see conntrack-entry.h.
#include "conntrack-entry.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../netlink/nlattr.h"

namespace cleat {
namespace {

// The lifetime of an entry that nobody uses: UDP's default (nf_conntrack_udp_timeout).
constexpr uint32_t kLifetimeSeconds = 30;

Tuple DecodeTuple(const nlattr* nest, uint8_t* protocol) {
  Tuple tuple;
  EachAttribute(nest, [&](const nlattr* part) {
    const uint16_t kind = mnl_attr_get_type(part);
    if (kind == CTA_TUPLE_IP) {
      EachAttribute(part, [&](const nlattr* address) {
        const uint16_t type = mnl_attr_get_type(address);
        if (type == CTA_IP_V4_SRC || type == CTA_IP_V6_SRC) tuple.source = BytesOf(address);
        if (type == CTA_IP_V4_DST || type == CTA_IP_V6_DST) tuple.destination = BytesOf(address);
      });
    } else if (kind == CTA_TUPLE_PROTO) {
      EachAttribute(part, [&](const nlattr* value) {
        const uint16_t type = mnl_attr_get_type(value);
        if (type == CTA_PROTO_NUM) *protocol = NumberOf<uint8_t>(value).value_or(0);
        if (type == CTA_PROTO_SRC_PORT) tuple.source_port = ntohs(NumberOf<uint16_t>(value).value_or(0));
        if (type == CTA_PROTO_DST_PORT) tuple.destination_port = ntohs(NumberOf<uint16_t>(value).value_or(0));
      });
    }
  });
  return tuple;
}

void PutTuple(nlmsghdr* request, uint16_t type, const Tuple& tuple, const Entry& entry) {
  const bool v4 = entry.family == AF_INET;
  nlattr* nest = mnl_attr_nest_start(request, type);
  nlattr* addresses = mnl_attr_nest_start(request, CTA_TUPLE_IP);
  mnl_attr_put(request, v4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC, tuple.source.size(), tuple.source.data());
  mnl_attr_put(request, v4 ? CTA_IP_V4_DST : CTA_IP_V6_DST, tuple.destination.size(), tuple.destination.data());
  mnl_attr_nest_end(request, addresses);
  nlattr* protocol = mnl_attr_nest_start(request, CTA_TUPLE_PROTO);
  mnl_attr_put_u8(request, CTA_PROTO_NUM, entry.protocol);
  mnl_attr_put_u16(request, CTA_PROTO_SRC_PORT, htons(tuple.source_port));
  mnl_attr_put_u16(request, CTA_PROTO_DST_PORT, htons(tuple.destination_port));
  mnl_attr_nest_end(request, protocol);
  mnl_attr_nest_end(request, nest);
}

void PutZone(nlmsghdr* request, const Entry& entry) {
  if (!entry.zone.empty()) mnl_attr_put(request, CTA_ZONE, entry.zone.size(), entry.zone.data());
}

// The kernel requires the state of a TCP connection. The flags make it ignore sequence numbers, because it would know
// none.
void PutTcpState(nlmsghdr* request) {
  const nf_ct_tcp_flags flags{IP_CT_TCP_FLAG_BE_LIBERAL, IP_CT_TCP_FLAG_BE_LIBERAL};
  nlattr* nest = mnl_attr_nest_start(request, CTA_PROTOINFO);
  nlattr* tcp = mnl_attr_nest_start(request, CTA_PROTOINFO_TCP);
  mnl_attr_put_u8(request, CTA_PROTOINFO_TCP_STATE, TCP_CONNTRACK_ESTABLISHED);
  mnl_attr_put(request, CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, sizeof flags, &flags);
  mnl_attr_put(request, CTA_PROTOINFO_TCP_FLAGS_REPLY, sizeof flags, &flags);
  mnl_attr_nest_end(request, tcp);
  mnl_attr_nest_end(request, nest);
}

void PutDestination(nlmsghdr* request, const Target& to, bool v4) {
  nlattr* nest = mnl_attr_nest_start(request, CTA_NAT_DST);
  mnl_attr_put(request, v4 ? CTA_NAT_V4_MINIP : CTA_NAT_V6_MINIP, to.address.size(), to.address.data());
  nlattr* ports = mnl_attr_nest_start(request, CTA_NAT_PROTO);
  mnl_attr_put_u16(request, CTA_PROTONAT_PORT_MIN, htons(to.port));
  mnl_attr_put_u16(request, CTA_PROTONAT_PORT_MAX, htons(to.port));
  mnl_attr_nest_end(request, ports);
  mnl_attr_nest_end(request, nest);
}

}  // namespace

nlmsghdr* BeginConntrack(char* buffer, uint16_t type, uint16_t flags, int family) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = static_cast<uint8_t>(family);
  header->version = NFNETLINK_V0;
  return message;
}

std::optional<Entry> DecodeEntry(const nlmsghdr* message) {
  const auto* header = HeaderOf<nfgenmsg>(message);
  if (header == nullptr) return std::nullopt;
  Entry entry;
  entry.family = header->nfgen_family;
  EachAttribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case CTA_TUPLE_ORIG:
        entry.original = DecodeTuple(attribute, &entry.protocol);
        break;
      case CTA_TUPLE_REPLY:
        entry.reply = DecodeTuple(attribute, &entry.protocol);
        break;
      case CTA_STATUS:
        entry.status = ntohl(NumberOf<uint32_t>(attribute).value_or(0));
        break;
      case CTA_ZONE:
        if (mnl_attr_get_payload_len(attribute) == sizeof(uint16_t)) entry.zone = BytesOf(attribute);
        break;
    }
  });
  const size_t size = entry.family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
  for (const Tuple* tuple : {&entry.original, &entry.reply}) {
    if (tuple->source.size() != size || tuple->destination.size() != size) return std::nullopt;
  }
  return entry;
}

std::string DeleteRequest(const nlmsghdr* entry, uint32_t number) {
  alignas(nlmsghdr) char buffer[1024];
  const auto* header = HeaderOf<nfgenmsg>(entry);
  const int family = header == nullptr ? AF_UNSPEC : header->nfgen_family;
  nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, family);
  request->nlmsg_seq = number;
  EachAttribute(entry, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    const uint16_t type = mnl_attr_get_type(attribute);
    if (type != CTA_TUPLE_ORIG && type != CTA_ZONE && type != CTA_ID) return;
    mnl_attr_put_check(request, sizeof buffer, attribute->nla_type, mnl_attr_get_payload_len(attribute),
                       mnl_attr_get_payload(attribute));
  });
  return std::string(buffer, request->nlmsg_len);
}

std::string ReplaceRequests(const Entry& entry, const std::optional<Target>& to) {
  alignas(nlmsghdr) char buffer[1024];
  nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_DELETE, NLM_F_ACK, entry.family);
  PutTuple(request, CTA_TUPLE_ORIG, entry.original, entry);
  PutZone(request, entry);
  std::string requests(buffer, request->nlmsg_len);

  const Tuple& original = entry.original;
  const Tuple reply{original.destination, original.source, original.destination_port, original.source_port};
  request = BeginConntrack(buffer, IPCTNL_MSG_CT_NEW, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, entry.family);
  request->nlmsg_seq = 1;
  PutTuple(request, CTA_TUPLE_ORIG, original, entry);
  PutTuple(request, CTA_TUPLE_REPLY, reply, entry);
  PutZone(request, entry);
  mnl_attr_put_u32(request, CTA_TIMEOUT, htonl(kLifetimeSeconds));
  if (entry.protocol == IPPROTO_TCP) PutTcpState(request);
  if (to) PutDestination(request, *to, entry.family == AF_INET);
  return requests.append(buffer, request->nlmsg_len);
}

}  // namespace cleat
