// nft-transaction.cc: see nft-transaction.h.
#include "nft-transaction.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <utility>

#include "../netlink/nlattr.h"

namespace cleat {

std::optional<Transaction> TransactionReader::Take(const nlmsghdr* message) {
  if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES) return std::nullopt;
  if (NFNL_MSG_TYPE(message->nlmsg_type) != NFT_MSG_NEWGEN) {
    touched_ = touched_ || IsOfTable(message);
    return std::nullopt;
  }
  if (!std::exchange(touched_, false)) return std::nullopt;
  Transaction transaction;
  transaction.port = message->nlmsg_pid;
  EachAttribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NFTA_GEN_PROC_PID) {
      if (const std::optional<uint32_t> pid = NumberOf<uint32_t>(attribute)) transaction.pid = ntohl(*pid);
    } else if (mnl_attr_get_type(attribute) == NFTA_GEN_PROC_NAME) {
      transaction.command = TextOf(attribute);
    }
  });
  return transaction;
}

// Every message about something in a table begins with the table's name, whatever the operation and the object
// (NFTA_TABLE_NAME, NFTA_CHAIN_TABLE ...: attribute 1). This looks at the name and not at the type, because kernels add
// types (NFT_MSG_DESTROYTABLE ..., 6.3).
bool TransactionReader::IsOfTable(const nlmsghdr* message) const {
  const auto* header = HeaderOf<nfgenmsg>(message);
  if (header == nullptr || header->nfgen_family != NFPROTO_INET) return false;
  bool first = true;
  bool ours = false;
  EachAttribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    if (std::exchange(first, false))
      ours = mnl_attr_get_type(attribute) == NFTA_TABLE_NAME && TextOf(attribute) == table_;
  });
  return ours;
}

}  // namespace cleat
