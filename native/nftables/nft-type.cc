// nft-type.cc: see nft-type.h. The numbers come from nft's own sources (include/datatype.h). Everybody sees them in a
// ruleset, so they do not change.
#include "nft-type.h"

#include <net/if.h>

namespace cleat {
namespace {

constexpr NftType kTypes[] = {
    {"ipv4_addr", 7, 4, false},     {"ipv6_addr", 8, 16, false}, {"inet_proto", 12, 1, false},
    {"inet_service", 13, 2, false}, {"mark", 19, 4, true},       {"ifname", 41, IFNAMSIZ, true},
};

// A concatenation's number has 6 bits for each part, the first part highest (nftables, concat_subtype_add).
constexpr unsigned kTypeBits = 6;
constexpr uint32_t kTypeMask = (1U << kTypeBits) - 1;

}  // namespace

const NftType* TypeNamed(const std::string& name) {
  for (const NftType& type : kTypes) {
    if (name == type.name) return &type;
  }
  return nullptr;
}

uint32_t NftTypes::number() const {
  uint32_t number = 0;
  for (const NftType* part : parts) number = number << kTypeBits | part->number;
  return number;
}

uint32_t NftTypes::length() const {
  if (parts.size() == 1) return parts[0]->length;
  uint32_t length = 0;
  for (const NftType* part : parts) length += NftPadded(part->length);
  return length;
}

std::string NftTypes::Name() const {
  std::string name;
  for (const NftType* part : parts) name += (name.empty() ? "" : " . ") + std::string(part->name);
  return name;
}

NftTypes TypesOf(uint32_t number) {
  NftTypes types;
  for (; number != 0; number >>= kTypeBits) {
    const size_t before = types.parts.size();
    for (const NftType& type : kTypes) {
      if ((number & kTypeMask) == type.number) types.parts.insert(types.parts.begin(), &type);
    }
    if (types.parts.size() == before) return {};
  }
  return types;
}

}  // namespace cleat
