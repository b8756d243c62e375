// conntrack-entry.cc: see conntrack-entry.h.
#include "conntrack-entry.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include "nlattr.h"

namespace cleat {

nlmsghdr* BeginConntrack(char* buffer, uint16_t type, uint16_t flags, int family) {
  nlmsghdr* message = mnl_nlmsg_put_header(buffer);
  message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(nfgenmsg)));
  header->nfgen_family = static_cast<uint8_t>(family);
  header->version = NFNETLINK_V0;
  return message;
}

bool Holds(const nlmsghdr* entry, const Addresses& addresses) {
  bool holds = false;
  EachAttribute(entry, sizeof(nfgenmsg), [&](const nlattr* tuple) {
    const uint16_t type = mnl_attr_get_type(tuple);
    if (type != CTA_TUPLE_ORIG && type != CTA_TUPLE_REPLY) return;
    EachAttribute(tuple, [&](const nlattr* ip) {
      if (mnl_attr_get_type(ip) != CTA_TUPLE_IP) return;
      EachAttribute(ip, [&](const nlattr* value) { holds |= addresses.count(BytesOf(value)) != 0; });
    });
  });
  return holds;
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

}  // namespace cleat
