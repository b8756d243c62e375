// nft-type.h: nf_tables' data types and verdicts as C++ values, without JavaScript.
//
// Guarantees: types use nft's numbers, so that `nft list` prints what we made in its own words.
// Limits: only the types that cleat uses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cleat {

// The data type of one part of a key: nft's name, nft's number (nftables, include/datatype.h), length in bytes.
struct NftType {
  const char* name;
  uint32_t number;
  uint32_t length;
  bool hostOrder;
};

// Returns nullptr for a type that cleat does not use.
const NftType* TypeNamed(const std::string& name);

// The type of a key or of map data: its parts, and the number and length that the kernel gets for them.
struct NftTypes {
  std::vector<const NftType*> parts;

  uint32_t number() const;
  uint32_t length() const;
  bool hostOrder() const { return parts.size() == 1 && parts[0]->hostOrder; }
  // "ipv4_addr . inet_service", as nft writes it.
  std::string Name() const;
};

// Returns the parts that a number from the kernel stands for; empty if cleat does not use one of them.
NftTypes TypesOf(uint32_t number);

// In a concatenation each part begins at a multiple of 4 bytes (NFT_REG32_SIZE).
constexpr size_t NftPadded(size_t size) {
  return (size + 3) & ~size_t{3};
}

struct NftVerdict {
  int32_t code = 0;  // NF_ACCEPT, NFT_JUMP ...
  std::string chain;
};

}  // namespace cleat
