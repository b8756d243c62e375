// Fuzz target: entries of connection tracking, how they are judged (native/conntrack/conntrack-judge.h), and the
// requests made from them (native/conntrack/conntrack-entry.h).
//
// Checked besides memory: a request to delete is one well-formed message, for the same family, with nothing but the
// entry's attributes; a replacement is two; an entry that is judged has all of its addresses; without rules every entry
// stays.
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include "../../native/conntrack/conntrack-judge.h"
#include "../../native/netlink/nlattr.h"
#include "datagram.h"
#include "must.h"

namespace {

// The bytes of 10.9.0.1 and fd00:9::1, which the captured entries have.
const std::string kFour("\x0a\x09\x00\x01", 4);
const std::string kSix("\xfd\x00\x00\x09\0\0\0\0\0\0\0\0\0\0\0\x01", 16);

cleat::Rules Rules() {
  cleat::Rules rules;
  for (const uint8_t protocol : {6, 17, 132}) {
    rules.ports[{AF_INET, protocol, "", 9}] = cleat::Target{kFour, 9};
    rules.ports[{AF_INET6, protocol, kSix, 9}] = std::nullopt;
  }
  rules.networks.push_back({{{kFour, 24}, {kSix, 61}}, false, true, {kFour}, cleat::NetworkFacts::Isolate::kOpen});
  rules.networks.push_back({{{std::string(4, 0), 1}}, true, false, {}, cleat::NetworkFacts::Isolate::kStrict});
  return rules;
}

void CheckMessages(const std::string& requests, size_t expected) {
  size_t messages = 0;
  size_t size = 0;
  EachMessageOf(reinterpret_cast<const uint8_t*>(requests.data()), requests.size(), [&](const nlmsghdr* message) {
    MUST(message->nlmsg_seq == messages);
    messages++;
    size += message->nlmsg_len;
    size_t attributes = NLMSG_HDRLEN + sizeof(nfgenmsg);
    cleat::EachAttribute(message, sizeof(nfgenmsg),
                         [&](const nlattr* attribute) { attributes += MNL_ALIGN(attribute->nla_len); });
    MUST(message->nlmsg_len == attributes);
  });
  MUST(messages == expected && size == requests.size());
}

void Take(const nlmsghdr* message) {
  static const cleat::Rules rules = Rules();
  const std::string request = cleat::DeleteRequest(message, 0);
  MUST(request.size() <= 1024);
  CheckMessages(request, 1);
  MUST(reinterpret_cast<const nlmsghdr*>(request.data())->nlmsg_type ==
       (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE));

  const std::optional<cleat::Entry> entry = cleat::DecodeEntry(message);
  if (!entry) return;
  const size_t size = entry->family == AF_INET ? 4 : 16;
  MUST(entry->original.source.size() == size && entry->reply.destination.size() == size);
  const auto is_local = [](const std::string& address) { return address == kFour; };
  MUST(cleat::Judge(*entry, {}, is_local).fate == cleat::Fate::kKeep);
  const cleat::Judgement judged = cleat::Judge(*entry, rules, is_local);
  CheckMessages(cleat::ReplaceRequests(*entry, judged.to), 2);
  cleat::Rules gone;
  gone.addresses.insert(entry->reply.source);
  MUST(cleat::Judge(*entry, gone, is_local).fate == cleat::Fate::kForget);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  EachMessageOf(data, size, Take);
  AsOneMessage(data, size, Take);
  return 0;
}
