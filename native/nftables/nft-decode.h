// nft-decode.h: decodes the kernel's answers to NFT_MSG_GET* (nf_tables_api.c) to C++ values.
//
// Guarantees: no answer is trusted: a part that is missing or too short for its type is 0 or "". No JavaScript, any
// thread.
// Limits: only what nft-dump.cc reads; expressions are not decoded.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "nft-type.h"

namespace cleat {

struct TableFacts {
  uint64_t handle = 0;
  uint32_t flags = 0;  // NFT_TABLE_F_*
};

struct ChainFacts {
  std::string table;
  std::string name;
  bool hooked = false;
  int family = 0;                  // NFPROTO_*
  std::optional<uint32_t> hook;    // NF_INET_* of a chain that has one
  std::optional<uint32_t> policy;  // NF_ACCEPT or NF_DROP, likewise
  std::string type;                // "filter", "nat", "route", likewise
  int32_t priority = 0;            // likewise
};

struct RuleFacts {
  std::string table;
  std::string chain;
  uint64_t handle = 0;
  std::string comment;
};

struct SetFacts {
  std::string table;
  std::string name;
  bool map = false;
  bool interval = false;
  uint32_t flags = 0;  // NFT_SET_*, without the flags that other fields hold
  NftTypes key;
  NftTypes data;
};

struct ElementFacts {
  std::string key;            // as the kernel keeps it (nft-data.h)
  std::string data;           // the same, of a map
  bool interval_end = false;  // the first key behind an interval
  std::optional<NftVerdict> verdict;
  std::string comment;
};

// Returns the low 16 bits of the ruleset's generation, which every answer carries; nothing if the message is no answer.
std::optional<uint16_t> GenerationOf(const nlmsghdr* answer);

TableFacts DecodeTable(const nlmsghdr* answer);
ChainFacts DecodeChain(const nlmsghdr* answer);
RuleFacts DecodeRule(const nlmsghdr* answer);
SetFacts DecodeSet(const nlmsghdr* answer);
// Calls `each` for every element of the list in an answer to NFT_MSG_GETSETELEM.
void DecodeElements(const nlmsghdr* answer, const std::function<void(ElementFacts&)>& each);

// Returns the comment in userdata of nft's layout (type, length, value), "" for none.
std::string CommentOf(const std::string& userdata);

}  // namespace cleat
