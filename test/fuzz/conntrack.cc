// Fuzz target: entries of connection tracking, and the requests made of them (native/conntrack-entry.h).
//
// Checked besides memory: a request is one well-formed message, to delete, for the same family, with nothing but what
// the entry had.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "../../native/conntrack-entry.h"
#include "../../native/nlattr.h"
#include "datagram.h"
#include "must.h"

namespace {

void Take(const nlmsghdr* entry) {
  // 10.9.0.1 and fd00:9::1, which the captured entries have.
  static const cleat::Addresses addresses{std::string("\x0a\x09\x00\x01", 4),
                                          std::string("\xfd\x00\x00\x09\0\0\0\0\0\0\0\0\0\0\0\x01", 16)};
  cleat::Holds(entry, addresses);
  const std::string request = cleat::DeleteRequest(entry, 7);
  MUST(request.size() <= 1024);
  size_t messages = 0;
  EachMessageOf(reinterpret_cast<const uint8_t*>(request.data()), request.size(), [&](const nlmsghdr* message) {
    messages++;
    MUST(message->nlmsg_len == request.size() && message->nlmsg_seq == 7);
    MUST(message->nlmsg_type == (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE));
    size_t size = NLMSG_HDRLEN + sizeof(nfgenmsg);
    cleat::EachAttribute(message, sizeof(nfgenmsg),
                         [&](const nlattr* attribute) { size += MNL_ALIGN(attribute->nla_len); });
    MUST(size == request.size());
  });
  MUST(messages == 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  EachMessageOf(data, size, Take);
  AsOneMessage(data, size, Take);
  return 0;
}
