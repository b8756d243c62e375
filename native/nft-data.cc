// nft-data.cc: see nft-data.h. nft keeps these numbers and layouts in its own sources (include/datatype.h, udata.c);
// they are part of what a ruleset looks like to everybody, and do not change.
#include "nft-data.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <cstring>

namespace cleat {
namespace {

constexpr NftType kTypes[] = {
    {"ipv4_addr", 7, 4, false},     {"ipv6_addr", 8, 16, false}, {"inet_proto", 12, 1, false},
    {"inet_service", 13, 2, false}, {"mark", 19, 4, true},       {"ifname", 41, IFNAMSIZ, true},
};

// A concatenation's number has 6 bits for each part, the first part highest (nftables, concat_subtype_add).
constexpr unsigned kTypeBits = 6;
constexpr uint32_t kTypeMask = (1U << kTypeBits) - 1;

constexpr NftWord kVerdicts[] = {
    {"accept", NF_ACCEPT}, {"drop", NF_DROP}, {"return", NFT_RETURN}, {"jump", NFT_JUMP}, {"goto", NFT_GOTO},
};

constexpr size_t kCommentLimit = 128;  // with its NUL; NFTNL_UDATA_COMMENT_MAXLEN

size_t Padded(size_t size) {
  return (size + 3) & ~size_t{3};
}

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string AddressBytes(Input& input, Napi::Object object, const char* key, int family) {
  const IpAddress address = input.Address(object, key);
  if (address.family != family) input.Invalid("nft", std::string("not an ") + key + " address");
  return std::string(reinterpret_cast<const char*>(address.bytes.data()), address.size());
}

}  // namespace

uint32_t NftTypes::number() const {
  uint32_t number = 0;
  for (const NftType* part : parts) number = number << kTypeBits | part->number;
  return number;
}

uint32_t NftTypes::length() const {
  if (parts.size() == 1) return parts[0]->length;
  uint32_t length = 0;
  for (const NftType* part : parts) length += Padded(part->length);
  return length;
}

std::string NftTypes::Name() const {
  std::string name;
  for (const NftType* part : parts) name += (name.empty() ? "" : " . ") + std::string(part->name);
  return name;
}

NftTypes ReadTypes(Input& input, Napi::Value value, const char* what) {
  NftTypes types;
  for (const std::string& text : input.Texts(value, what)) {
    const size_t before = types.parts.size();
    for (const NftType& type : kTypes) {
      if (text == type.name) types.parts.push_back(&type);
    }
    if (types.parts.size() == before) input.Invalid("nft", std::string(what) + " " + text);
  }
  if (input.ok() && (types.parts.empty() || types.length() > NFT_DATA_VALUE_MAXLEN)) input.Invalid("nft", what);
  return types;
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

std::string ReadDatum(Input& input, Napi::Value value, const char* what) {
  const Napi::Object object = input.Object(value, what);
  // In the order of how often they come: a port element has ports, protocols and addresses.
  if (Napi::Value port = input.Get(object, "port"); port.IsNumber()) {
    return Bytes(htons(static_cast<uint16_t>(input.Integer(port, "port", 0, UINT16_MAX))));
  }
  if (input.Get(object, "ipv4").IsString()) return AddressBytes(input, object, "ipv4", AF_INET);
  if (Napi::Value byte = input.Get(object, "byte"); byte.IsNumber()) {
    return Bytes(static_cast<uint8_t>(input.Integer(byte, "byte", 0, UINT8_MAX)));
  }
  if (input.Get(object, "ipv6").IsString()) return AddressBytes(input, object, "ipv6", AF_INET6);
  if (Napi::Value u32 = input.Get(object, "u32"); u32.IsNumber()) {
    return Bytes(static_cast<uint32_t>(input.Integer(u32, "u32", 0, UINT32_MAX)));
  }
  if (Napi::Value ifname = input.Get(object, "ifname"); ifname.IsString()) {
    std::string name = input.Text(ifname, "ifname");
    if (name.empty() || name.size() >= IFNAMSIZ) input.Invalid("nft", "ifname " + name);
    name.resize(IFNAMSIZ);
    return name;
  }
  input.WrongType(what, "one of ipv4, ipv6, port, byte, u32, ifname");
  return {};
}

std::string ReadData(Input& input, Napi::Value value, const char* what) {
  const std::vector<Napi::Value> parts = input.Items(value, what);
  std::string bytes;
  for (Napi::Value part : parts) {
    bytes += ReadDatum(input, part, what);
    if (parts.size() > 1) bytes.resize(Padded(bytes.size()));
  }
  if (input.ok() && (bytes.empty() || bytes.size() > NFT_DATA_VALUE_MAXLEN)) input.Invalid("nft", what);
  return bytes;
}

Napi::Value WriteData(Napi::Env env, const NftTypes& types, const std::string& bytes) {
  Napi::Array data = Napi::Array::New(env);
  size_t offset = 0;
  for (const NftType* type : types.parts) {
    Napi::Object datum = Napi::Object::New(env);
    if (offset + type->length > bytes.size()) break;
    const char* part = bytes.data() + offset;
    const std::string name = type->name;
    if (name == "ipv4_addr") {
      datum["ipv4"] = FormatIpAddress(AF_INET, part);
    } else if (name == "ipv6_addr") {
      datum["ipv6"] = FormatIpAddress(AF_INET6, part);
    } else if (name == "inet_service") {
      uint16_t port;
      memcpy(&port, part, sizeof port);
      datum["port"] = ntohs(port);
    } else if (name == "inet_proto") {
      datum["byte"] = static_cast<uint8_t>(*part);
    } else if (name == "mark") {
      uint32_t mark;
      memcpy(&mark, part, sizeof mark);
      datum["u32"] = mark;
    } else {
      datum["ifname"] = std::string(part, strnlen(part, IFNAMSIZ));
    }
    data.Set(data.Length(), datum);
    offset += Padded(type->length);
  }
  return data;
}

NftVerdict ReadVerdict(Input& input, Napi::Object object) {
  NftVerdict verdict;
  verdict.code = ReadWord(input, object, "verdict", kVerdicts);
  if (verdict.code == NFT_JUMP || verdict.code == NFT_GOTO) verdict.chain = ReadName(input, object, "chain");
  return verdict;
}

Napi::Value WriteVerdict(Napi::Env env, const NftVerdict& verdict) {
  Napi::Object object = Napi::Object::New(env);
  for (const NftWord& word : kVerdicts) {
    if (verdict.code == word.value) object["verdict"] = word.word;
  }
  if (!verdict.chain.empty()) object["chain"] = verdict.chain;
  return object;
}

std::string ReadName(Input& input, Napi::Object object, const char* key) {
  std::string name = input.Text(object, key);
  if (input.ok() && (name.empty() || name.size() >= NFT_NAME_MAXLEN)) input.Invalid("nft", key);
  return name;
}

std::string ReadComment(Input& input, Napi::Object object) {
  const std::string text = input.OptionalText(object, "comment").value_or("");
  if (text.empty()) return {};
  if (text.size() >= kCommentLimit) {
    input.Invalid("nft", "comment longer than 127 bytes");
    return {};
  }
  std::string userdata = {0, static_cast<char>(text.size() + 1)};
  return userdata.append(text.c_str(), text.size() + 1);
}

std::string CommentOf(const void* userdata, size_t size) {
  const char* bytes = static_cast<const char*>(userdata);
  for (size_t at = 0; at + 2 <= size;) {
    const size_t length = static_cast<uint8_t>(bytes[at + 1]);
    if (at + 2 + length > size) break;
    if (bytes[at] == 0) return std::string(bytes + at + 2, strnlen(bytes + at + 2, length));
    at += 2 + length;
  }
  return {};
}

}  // namespace cleat
