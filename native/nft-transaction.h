// nft-transaction.h: which nf_tables transactions did anything to a table, from what the kernel announces of them.
//
// Guarantees: one Transaction for each that touched the table: itself, a chain, a rule, a set, an element. Nothing is
// believed: what is no such announcement, or too short for one, is nothing. No JavaScript, any one thread.
//
// How: the messages of a transaction come in one piece, and a NFT_MSG_NEWGEN ends it (nf_tables_commit).
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string>

namespace cleat {

struct Transaction {
  uint32_t port = 0;  // of the netlink socket it came through: whose it is
  // NFTA_GEN_PROC_PID, the id of a thread in the initial pid namespace, and its name. A kernel may say neither.
  std::optional<uint32_t> pid;
  std::optional<std::string> command;
};

class TransactionReader {
 public:
  explicit TransactionReader(std::string table) : table_(std::move(table)) {}

  // The transaction that this message ends, when it touched the table.
  std::optional<Transaction> Take(const nlmsghdr* message);
  // The end of what was taken so far will not come.
  void Forget() { touched_ = false; }

 private:
  bool IsOfTable(const nlmsghdr* message) const;

  const std::string table_;
  bool touched_ = false;  // by the transaction whose messages are coming in
};

}  // namespace cleat
