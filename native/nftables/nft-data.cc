// nft-data.cc: see nft-data.h. The layout of userdata is nft's (udata.c).
#include "nft-data.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <net/if.h>

#include <cstring>

namespace cleat {
namespace {

constexpr NftWord kVerdicts[] = {
    {"accept", NF_ACCEPT}, {"drop", NF_DROP}, {"return", NFT_RETURN}, {"jump", NFT_JUMP}, {"goto", NFT_GOTO},
};

constexpr size_t kCommentLimit = 128;  // with its NUL; NFTNL_UDATA_COMMENT_MAXLEN

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

NftTypes ReadTypes(Input& input, Napi::Value value, const char* what) {
  NftTypes types;
  for (const std::string& text : input.Texts(value, what)) {
    if (const NftType* type = TypeNamed(text)) {
      types.parts.push_back(type);
    } else {
      input.Invalid("nft", std::string(what) + " " + text);
    }
  }
  if (input.ok() && (types.parts.empty() || types.length() > NFT_DATA_VALUE_MAXLEN)) input.Invalid("nft", what);
  return types;
}

std::string ReadDatum(Input& input, Napi::Value value, const char* what) {
  const Napi::Object object = input.Object(value, what);
  // Ordered by how often each kind comes: a port element has ports, protocols and addresses.
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
    if (parts.size() > 1) bytes.resize(NftPadded(bytes.size()));
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
    offset += NftPadded(type->length);
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

}  // namespace cleat
