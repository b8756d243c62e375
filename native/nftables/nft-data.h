// nft-data.h: converts values of nft-types.ts (data, keys, types, verdicts) to the bytes that nf_tables keeps, and
// back.
//
// Guarantees: a concatenation pads each part to 4 bytes, as nft and the kernel's registers do (NFT_REG32_SIZE); a
// single value has its own length.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../node/input.h"
#include "nft-type.h"

namespace cleat {

NftTypes ReadTypes(Input& input, Napi::Value value, const char* what);

// NftDatum[] -> bytes.
std::string ReadData(Input& input, Napi::Value value, const char* what);
// NftDatum -> bytes, unpadded.
std::string ReadDatum(Input& input, Napi::Value value, const char* what);
// Bytes -> NftDatum[].
Napi::Value WriteData(Napi::Env env, const NftTypes& types, const std::string& bytes);

NftVerdict ReadVerdict(Input& input, Napi::Object object);
Napi::Value WriteVerdict(Napi::Env env, const NftVerdict& verdict);

// Returns the name of a table, chain or set, which has to fit the kernel's NFT_NAME_MAXLEN.
std::string ReadName(Input& input, Napi::Object object, const char* key);
// Returns an optional comment as userdata (type 0, length, text with its NUL: what nft writes), "" for none.
std::string ReadComment(Input& input, Napi::Object object);

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
