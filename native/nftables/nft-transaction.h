// nft-transaction.h: finds the nf_tables transactions that did anything to a table, in the kernel's announcements.
//
// Guarantees: one Transaction for each that touched the table: itself, a chain, a rule, a set, an element. No message
// is trusted: one that is no such announcement, or too short for one, is ignored. No JavaScript, any one thread.
//
// How: the messages of a transaction come in one piece, and a NFT_MSG_NEWGEN ends it (nf_tables_commit).
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <optional>
#include <string>

namespace cleat {

struct Transaction {
  uint32_t port = 0;  // the netlink port of the sending socket, which identifies its process
  // NFTA_GEN_PROC_PID, the id of a thread in the initial pid namespace, and its name. A kernel may report neither.
  std::optional<uint32_t> pid;
  std::optional<std::string> command;
};

class TransactionReader {
 public:
  explicit TransactionReader(std::string table) : table_(std::move(table)) {}

  // Returns the transaction that this message ends, if that transaction touched the table.
  std::optional<Transaction> Take(const nlmsghdr* message);
  // Drops what was taken so far, because its end will not come.
  void Forget() { touched_ = false; }

 private:
  bool IsOfTable(const nlmsghdr* message) const;

  const std::string table_;
  bool touched_ = false;  // by the transaction whose messages are coming in
};

}  // namespace cleat
