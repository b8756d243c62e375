// Fuzz target: nf_tables' announcements (native/nftables/nft-transaction.h), a series of transactions read by one
// reader.
//
// Checked besides memory: only the end of a transaction yields one, and there is something between two ends.
#include "../../native/nftables/nft-transaction.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "datagram.h"
#include "must.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cleat::TransactionReader reader("watched");
  const nlmsghdr* before = nullptr;
  EachMessageOf(data, size, [&](const nlmsghdr* message) {
    const std::optional<cleat::Transaction> transaction = reader.Take(message);
    if (transaction) {
      MUST(message->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN));
      MUST(transaction->port == message->nlmsg_pid);
      MUST(!transaction->command || transaction->command->find('\0') == std::string::npos);
      MUST(before != nullptr && before->nlmsg_type != message->nlmsg_type);
      MUST(!reader.Take(message));
    }
    // A message of another subsystem counts as nothing in between.
    if (NFNL_SUBSYS_ID(message->nlmsg_type) == NFNL_SUBSYS_NFTABLES) before = message;
  });
  return 0;
}
