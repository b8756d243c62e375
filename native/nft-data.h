// nft-data.h: values of nft-types.ts (data, keys, types, verdicts) as the bytes nf_tables keeps, and back.
//
// Guarantees: a concatenation pads each part to 4 bytes, as nft and the kernel's registers do (NFT_REG32_SIZE); a
// single value has its own length. Types use nft's numbers, so that `nft list` prints what we made in its own words.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "input.h"

namespace cleat {

// The data type of one part of a key: nft's name, nft's number (nftables, include/datatype.h), length in bytes.
struct NftType {
  const char* name;
  uint32_t number;
  uint32_t length;
  bool hostOrder;
};

// A key or map data: its parts, and what the kernel is told about them.
struct NftTypes {
  std::vector<const NftType*> parts;

  uint32_t number() const;
  uint32_t length() const;
  bool hostOrder() const { return parts.size() == 1 && parts[0]->hostOrder; }
  // "ipv4_addr . inet_service", as nft writes it.
  std::string Name() const;
};

NftTypes ReadTypes(Input& input, Napi::Value value, const char* what);
// The parts behind a number from the kernel; empty when one is not ours.
NftTypes TypesOf(uint32_t number);

// NftDatum[] -> bytes.
std::string ReadData(Input& input, Napi::Value value, const char* what);
// NftDatum -> bytes, unpadded.
std::string ReadDatum(Input& input, Napi::Value value, const char* what);
// Bytes -> NftDatum[].
Napi::Value WriteData(Napi::Env env, const NftTypes& types, const std::string& bytes);

struct NftVerdict {
  int32_t code = 0;  // NF_ACCEPT, NFT_JUMP ...
  std::string chain;
};

NftVerdict ReadVerdict(Input& input, Napi::Object object);
Napi::Value WriteVerdict(Napi::Env env, const NftVerdict& verdict);

// A name of a table, chain or set: what fits the kernel's NFT_NAME_MAXLEN.
std::string ReadName(Input& input, Napi::Object object, const char* key);
// An optional comment as userdata (type 0, length, text with its NUL: what nft writes), "" for none.
std::string ReadComment(Input& input, Napi::Object object);
// The text of such userdata.
std::string CommentOf(const void* userdata, size_t size);

// One of a fixed choice of words.
struct NftWord {
  const char* word;
  int32_t value;
};
template <size_t N>
int32_t ReadWord(Input& input, Napi::Object object, const char* key, const NftWord (&words)[N]) {
  const std::string text = input.Text(object, key);
  for (const NftWord& word : words) {
    if (text == word.word) return word.value;
  }
  if (input.ok()) input.Invalid("nft", std::string(key) + " " + text);
  return words[0].value;
}

}  // namespace cleat
