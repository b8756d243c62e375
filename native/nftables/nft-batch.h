// nft-batch.h: turns operations of nft-types.ts into one nf_tables transaction, and refusals into failures.
//
// Guarantees: Add runs on the event loop and makes the final bytes, so that nothing of JavaScript is needed later.
// Commit runs on the worker and sends them as one batch, of which the kernel takes all or nothing. A refusal names the
// operation ("element.add cleat/ports4 #3": the fourth operation) and, if that has several elements, the element
// ("#3[17]"). Elements are spread over several messages, because an attribute, and so a list of elements, has 64 KB at
// most; it is one transaction all the same.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../node/input.h"
#include "nfnl.h"

namespace cleat {

class NftBatch {
 public:
  NftBatch();

  void Add(Input& input, Napi::Object operation);
  Failure Commit(Nfnl& socket);

 private:
  struct Kind;  // the properties of one `op`
  struct Operation {
    const Kind* kind;
    std::string object;  // "cleat/ports4"
  };
  struct Message {
    size_t start;       // in bytes_
    size_t operation;   // index in operations_
    uint32_t elements;  // how many of this operation are in earlier messages
  };
  static const Kind kKinds[];

  nlmsghdr* Begin(uint32_t elements = 0);
  void End(nlmsghdr* message);
  Failure Describe(const Nfnl::Refusal& refusal) const;

  // One per group of ops; each appends the messages of operations_.back().
  void Table(Input& input, Napi::Object operation);
  void Chain(Input& input, Napi::Object operation);
  void Rule(Input& input, Napi::Object operation);
  void Set(Input& input, Napi::Object operation);
  void SetFlush(Input& input, Napi::Object operation);
  void Elements(Input& input, Napi::Object operation);

  std::string bytes_;
  std::vector<Operation> operations_;
  std::vector<Message> messages_;
  std::unique_ptr<char[]> scratch_;  // the message being made
};

}  // namespace cleat
