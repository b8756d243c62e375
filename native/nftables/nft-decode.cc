// nft-decode.cc: see nft-decode.h.
#include "nft-decode.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cstring>

#include "../netlink/nlattr.h"

namespace cleat {
namespace {

// Attributes of a message or nest, by type.
class Attributes {
 public:
  explicit Attributes(const nlmsghdr* message) {
    EachAttribute(message, sizeof(nfgenmsg), [this](const nlattr* attribute) { Keep(attribute); });
  }
  explicit Attributes(const nlattr* nest) {
    EachAttribute(nest, [this](const nlattr* attribute) { Keep(attribute); });
  }

  const nlattr* operator[](uint16_t type) const { return type < kTypes ? found_[type] : nullptr; }
  std::string Text(uint16_t type) const {
    const nlattr* attribute = (*this)[type];
    return attribute == nullptr ? "" : TextOf(attribute);
  }
  std::string Bytes(uint16_t type) const {
    const nlattr* attribute = (*this)[type];
    return attribute == nullptr ? "" : BytesOf(attribute);
  }
  uint32_t U32(uint16_t type) const { return ntohl(Number<uint32_t>(type)); }
  uint64_t U64(uint16_t type) const { return be64toh(Number<uint64_t>(type)); }

 private:
  static constexpr uint16_t kTypes = 32;  // more than any object here has
  void Keep(const nlattr* attribute) {
    const uint16_t type = mnl_attr_get_type(attribute);
    if (type < kTypes) found_[type] = attribute;
  }
  template <typename T>
  T Number(uint16_t type) const {
    const nlattr* attribute = (*this)[type];
    return attribute == nullptr ? 0 : NumberOf<T>(attribute).value_or(0);
  }
  const nlattr* found_[kTypes] = {};
};

ElementFacts DecodeElement(const nlattr* nest) {
  const Attributes element(nest);
  ElementFacts facts;
  if (const nlattr* key = element[NFTA_SET_ELEM_KEY]) facts.key = Attributes(key).Bytes(NFTA_DATA_VALUE);
  facts.interval_end = (element.U32(NFTA_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END) != 0;
  if (const nlattr* value = element[NFTA_SET_ELEM_DATA]) {
    const Attributes data(value);
    facts.data = data.Bytes(NFTA_DATA_VALUE);
    if (const nlattr* verdict = data[NFTA_DATA_VERDICT]) {
      const Attributes parts(verdict);
      facts.verdict = NftVerdict{static_cast<int32_t>(parts.U32(NFTA_VERDICT_CODE)), parts.Text(NFTA_VERDICT_CHAIN)};
    }
  }
  facts.comment = CommentOf(element.Bytes(NFTA_SET_ELEM_USERDATA));
  return facts;
}

}  // namespace

std::optional<uint16_t> GenerationOf(const nlmsghdr* answer) {
  const auto* header = HeaderOf<nfgenmsg>(answer);
  return header == nullptr ? std::nullopt : std::optional<uint16_t>(header->res_id);
}

TableFacts DecodeTable(const nlmsghdr* answer) {
  const Attributes table(answer);
  return {table.U64(NFTA_TABLE_HANDLE), table.U32(NFTA_TABLE_FLAGS)};
}

ChainFacts DecodeChain(const nlmsghdr* answer) {
  const Attributes chain(answer);
  ChainFacts facts{chain.Text(NFTA_CHAIN_TABLE), chain.Text(NFTA_CHAIN_NAME), chain[NFTA_CHAIN_HOOK] != nullptr};
  if (const auto* header = HeaderOf<nfgenmsg>(answer)) facts.family = header->nfgen_family;
  if (!facts.hooked) return facts;
  const Attributes hook(chain[NFTA_CHAIN_HOOK]);
  facts.hook = hook.U32(NFTA_HOOK_HOOKNUM);
  facts.priority = static_cast<int32_t>(hook.U32(NFTA_HOOK_PRIORITY));
  facts.type = chain.Text(NFTA_CHAIN_TYPE);
  facts.policy = chain.U32(NFTA_CHAIN_POLICY);
  return facts;
}

RuleFacts DecodeRule(const nlmsghdr* answer) {
  const Attributes rule(answer);
  return {rule.Text(NFTA_RULE_TABLE), rule.Text(NFTA_RULE_CHAIN), rule.U64(NFTA_RULE_HANDLE),
          CommentOf(rule.Bytes(NFTA_RULE_USERDATA))};
}

SetFacts DecodeSet(const nlmsghdr* answer) {
  const Attributes set(answer);
  const uint32_t flags = set.U32(NFTA_SET_FLAGS);
  return {set.Text(NFTA_SET_TABLE),
          set.Text(NFTA_SET_NAME),
          (flags & NFT_SET_MAP) != 0,
          (flags & NFT_SET_INTERVAL) != 0,
          flags & ~static_cast<uint32_t>(NFT_SET_MAP | NFT_SET_INTERVAL | NFT_SET_CONCAT),
          TypesOf(set.U32(NFTA_SET_KEY_TYPE)),
          TypesOf(set.U32(NFTA_SET_DATA_TYPE))};
}

void DecodeElements(const nlmsghdr* answer, const std::function<void(ElementFacts&)>& each) {
  const nlattr* list = Attributes(answer)[NFTA_SET_ELEM_LIST_ELEMENTS];
  if (list == nullptr) return;
  EachAttribute(list, [&](const nlattr* nest) {
    ElementFacts element = DecodeElement(nest);
    each(element);
  });
}

std::string CommentOf(const std::string& userdata) {
  const char* bytes = userdata.data();
  const size_t size = userdata.size();
  for (size_t at = 0; at + 2 <= size;) {
    const size_t length = static_cast<uint8_t>(bytes[at + 1]);
    if (at + 2 + length > size) break;
    if (bytes[at] == 0) return std::string(bytes + at + 2, strnlen(bytes + at + 2, length));
    at += 2 + length;
  }
  return {};
}

}  // namespace cleat
