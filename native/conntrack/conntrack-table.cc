// conntrack-table.cc: see conntrack-table.h.
#include "conntrack-table.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <optional>

#include "../netlink/nlattr.h"
#include "conntrack-entry.h"

namespace cleat {

// The kernel answers EINVAL for an unknown subsystem (nfnetlink.c).
bool Unsupported(const Failure& failure) {
  return failure.error == EOPNOTSUPP || failure.error == EINVAL || failure.error == EPROTONOSUPPORT;
}

Failure ReadTableUse(Nfnl& socket, TableUse* use) {
  alignas(nlmsghdr) char buffer[64];
  nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, AF_UNSPEC);
  return socket.Request(request, "IPCTNL_MSG_CT_GET_STATS", "conntrack", [&](const nlmsghdr* answer) {
    EachAttribute(answer, sizeof(nfgenmsg), [&](const nlattr* attribute) {
      const std::optional<uint32_t> number = NumberOf<uint32_t>(attribute);
      if (!number) return;
      if (mnl_attr_get_type(attribute) == CTA_STATS_GLOBAL_ENTRIES) use->entries = ntohl(*number);
      if (mnl_attr_get_type(attribute) == CTA_STATS_GLOBAL_MAX_ENTRIES) use->maximum = ntohl(*number);
    });
  });
}

Failure DeleteEntries(Nfnl& socket, const std::vector<std::string>& requests, size_t* deleted) {
  for (size_t next = 0; next < requests.size();) {
    std::string messages;
    for (size_t i = 0; i < kDeletesPerSend && next < requests.size(); i++) messages += requests[next++];
    Nfnl::Refusal refusal;
    size_t acknowledged = 0;
    if (Failure failure = socket.Commit(&messages, &refusal, &acknowledged)) return failure;
    *deleted += acknowledged;
    // ENOENT: the entry ended by itself in between.
    if (refusal.error != 0 && refusal.error != ENOENT) return {refusal.error, "IPCTNL_MSG_CT_DELETE", "conntrack"};
  }
  return {};
}

std::string ReadAddress(Input& input, const std::string& text, int* family) {
  const std::optional<IpAddress> address = ParseIpAddress(text);
  if (!address) {
    input.Invalid("inet_pton", text);
    return {};
  }
  if (family != nullptr) *family = address->family;
  return std::string(reinterpret_cast<const char*>(address->bytes.data()), address->size());
}

Subnet ReadSubnet(Input& input, const std::string& text) {
  const size_t slash = text.find('/');
  Subnet subnet{ReadAddress(input, text.substr(0, slash)), 0};
  const std::string length = slash == std::string::npos ? "" : text.substr(slash + 1);
  const bool number = !length.empty() && length.size() <= 3 && length.find_first_not_of("0123456789") == length.npos;
  if (number) subnet.bits = static_cast<unsigned>(std::stoi(length));
  if (!number || subnet.bits > subnet.address.size() * 8) input.Invalid("conntrack", text);
  return subnet;
}

}  // namespace cleat
