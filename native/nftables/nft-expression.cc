// nft-expression.cc: see nft-expression.h. One function fills in each expression, which libnftnl then encodes. The
// names of keys and operators are nft's.
#include "nft-expression.h"

#include <libnftnl/expr.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <netinet/tcp.h>

#include <cstddef>
#include <string>

#include "nft-data.h"

namespace cleat {
namespace {

constexpr NftWord kMetaKeys[] = {
    {"iifname", NFT_META_IIFNAME},   {"oifname", NFT_META_OIFNAME}, {"nfproto", NFT_META_NFPROTO},
    {"l4proto", NFT_META_L4PROTO},   {"mark", NFT_META_MARK},       {"iifgroup", NFT_META_IIFGROUP},
    {"oifgroup", NFT_META_OIFGROUP}, {"pkttype", NFT_META_PKTTYPE}, {"iifkind", NFT_META_IIFKIND},
    {"skuid", NFT_META_SKUID},
};
constexpr NftWord kPayloadBases[] = {
    {"network", NFT_PAYLOAD_NETWORK_HEADER},
    {"transport", NFT_PAYLOAD_TRANSPORT_HEADER},
};
constexpr NftWord kCtKeys[] = {
    {"state", NFT_CT_STATE},         {"status", NFT_CT_STATUS}, {"mark", NFT_CT_MARK},
    {"direction", NFT_CT_DIRECTION}, {"daddr4", NFT_CT_DST_IP}, {"daddr6", NFT_CT_DST_IP6},
};
constexpr NftWord kFibAddresses[] = {{"daddr", NFTA_FIB_F_DADDR}, {"saddr", NFTA_FIB_F_SADDR}};
constexpr NftWord kFibResults[] = {
    {"type", NFT_FIB_RESULT_ADDRTYPE}, {"oif", NFT_FIB_RESULT_OIF}, {"oifname", NFT_FIB_RESULT_OIFNAME}};
constexpr NftWord kComparisons[] = {
    {"eq", NFT_CMP_EQ},
    {"neq", NFT_CMP_NEQ},
    {"lt", NFT_CMP_LT},
    {"gt", NFT_CMP_GT},
};
constexpr NftWord kNatKinds[] = {{"dnat", NFT_NAT_DNAT}, {"snat", NFT_NAT_SNAT}};

// Returns a register. They are numbered 0..15 and are the 4-byte ones.
uint32_t Register(Input& input, Napi::Object object, const char* key) {
  return NFT_REG32_00 + input.Uint(object, key, NFT_REG32_15 - NFT_REG32_00);
}

std::string RawBytes(Input& input, Napi::Object object, const char* key) {
  const Napi::Value value = input.Get(object, key);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    input.WrongType(key, "a Uint8Array");
    return {};
  }
  const Napi::Uint8Array bytes = value.As<Napi::Uint8Array>();
  if (bytes.ByteLength() == 0 || bytes.ByteLength() > NFT_DATA_VALUE_MAXLEN) {
    input.Invalid("nft", key);
    return {};
  }
  return std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength());
}

void SetBytes(nftnl_expr* expression, uint16_t attribute, const std::string& bytes) {
  nftnl_expr_set(expression, attribute, bytes.data(), static_cast<uint32_t>(bytes.size()));
}

void Meta(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, ReadWord(input, object, "key", kMetaKeys));
  nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, Register(input, object, "dreg"));
}

void Payload(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, ReadWord(input, object, "base", kPayloadBases));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, input.Uint(object, "offset"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, input.Uint(object, "length"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, Register(input, object, "dreg"));
}

// Writes the source address. IPv6 has no checksum of its own, and the checksums above IP include the address (RFC 8200,
// 8.1).
void Source(Input& input, Napi::Object object, nftnl_expr* e) {
  const bool six = input.Integer(input.Get(object, "family"), "family", 4, 6) == 6;
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_SREG, Register(input, object, "sreg"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, six ? offsetof(ipv6hdr, saddr) : offsetof(iphdr, saddr));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, six ? sizeof(in6_addr) : sizeof(in_addr));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_TYPE, six ? NFT_PAYLOAD_CSUM_NONE : NFT_PAYLOAD_CSUM_INET);
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, six ? 0 : offsetof(iphdr, check));
  nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_FLAGS, NFT_PAYLOAD_L4CSUM_PSEUDOHDR);
}

void Ct(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_CT_KEY, ReadWord(input, object, "key", kCtKeys));
  nftnl_expr_set_u32(e, NFTNL_EXPR_CT_DREG, Register(input, object, "dreg"));
  // The original direction has the address that the first packet was for, before it was translated.
  if (input.OptionalFlag(object, "original").value_or(false)) {
    nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
  }
}

void Fib(Input& input, Napi::Object object, nftnl_expr* e) {
  uint32_t flags = ReadWord(input, object, "of", kFibAddresses);
  // Considers only routes that lead back to where the packet came from.
  if (input.OptionalFlag(object, "iif").value_or(false)) flags |= NFTA_FIB_F_IIF;
  nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, flags);
  nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, ReadWord(input, object, "result", kFibResults));
  nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, Register(input, object, "dreg"));
}

void Cmp(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, Register(input, object, "sreg"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, ReadWord(input, object, "op", kComparisons));
  const Napi::Object data = input.Object(input.Get(object, "data"), "data");
  const bool raw = !input.Get(data, "bytes").IsUndefined();
  SetBytes(e, NFTNL_EXPR_CMP_DATA, raw ? RawBytes(input, data, "bytes") : ReadDatum(input, data, "data"));
}

void Bitwise(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_SREG, Register(input, object, "sreg"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_DREG, Register(input, object, "dreg"));
  const std::string mask = RawBytes(input, object, "mask");
  const std::string flip = RawBytes(input, object, "xor");
  if (mask.size() != flip.size()) input.Invalid("nft", "mask and xor of different lengths");
  nftnl_expr_set_u32(e, NFTNL_EXPR_BITWISE_LEN, static_cast<uint32_t>(mask.size()));
  SetBytes(e, NFTNL_EXPR_BITWISE_MASK, mask);
  SetBytes(e, NFTNL_EXPR_BITWISE_XOR, flip);
}

void Lookup(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, ReadName(input, object, "set").c_str());
  nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, Register(input, object, "sreg"));
  if (input.OptionalFlag(object, "verdict").value_or(false)) {
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
  } else if (!input.Get(object, "dreg").IsUndefined()) {
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, Register(input, object, "dreg"));
  }
  if (input.OptionalFlag(object, "inverted").value_or(false)) {
    nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
  }
}

void Immediate(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, Register(input, object, "dreg"));
  SetBytes(e, NFTNL_EXPR_IMM_DATA, ReadDatum(input, input.Get(object, "data"), "data"));
}

void Verdict(Input& input, Napi::Object object, nftnl_expr* e) {
  const NftVerdict verdict = ReadVerdict(input, object);
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, verdict.code);
  if (!verdict.chain.empty()) nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, verdict.chain.c_str());
}

void Nat(Input& input, Napi::Object object, nftnl_expr* e) {
  const int64_t family = input.Integer(input.Get(object, "family"), "family", 4, 6);
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_TYPE, ReadWord(input, object, "kind", kNatKinds));
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_FAMILY, family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_ADDR_MIN, Register(input, object, "addressReg"));
  if (input.Get(object, "portReg").IsUndefined()) return;
  nftnl_expr_set_u32(e, NFTNL_EXPR_NAT_REG_PROTO_MIN, Register(input, object, "portReg"));
}

// Loads the largest segment for which the packet's route and the route back have room (nft_rt.c), in host byte order.
void Rt(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_RT_KEY, NFT_RT_TCPMSS);
  nftnl_expr_set_u32(e, NFTNL_EXPR_RT_DREG, Register(input, object, "dreg"));
}

// Converts two bytes to network byte order.
void Byteorder(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_SREG, Register(input, object, "sreg"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_DREG, Register(input, object, "dreg"));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_OP, NFT_BYTEORDER_HTON);
  nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_LEN, sizeof(uint16_t));
  nftnl_expr_set_u32(e, NFTNL_EXPR_BYTEORDER_SIZE, sizeof(uint16_t));
}

// Writes the MSS option. Its kind and length come before its value (RFC 9293, 3.1). The kernel never makes the value
// larger.
void TcpMss(Input& input, Napi::Object object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_EXTHDR_SREG, Register(input, object, "sreg"));
  nftnl_expr_set_u8(e, NFTNL_EXPR_EXTHDR_TYPE, TCPOPT_MAXSEG);
  nftnl_expr_set_u32(e, NFTNL_EXPR_EXTHDR_OFFSET, 2);
  nftnl_expr_set_u32(e, NFTNL_EXPR_EXTHDR_LEN, sizeof(uint16_t));
  nftnl_expr_set_u32(e, NFTNL_EXPR_EXTHDR_OP, NFT_EXTHDR_OP_TCPOPT);
}

// Rejects as `nft ... reject` does in an inet table: with ICMP or ICMPv6 port unreachable.
void Reject(Input&, Napi::Object, nftnl_expr* e) {
  nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
  nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, NFT_REJECT_ICMPX_PORT_UNREACH);
}

void Nothing(Input&, Napi::Object, nftnl_expr*) {}

// Our word, the kernel's name of the expression, and the function that fills it in.
constexpr struct {
  const char* word;
  const char* name;
  void (*fill)(Input&, Napi::Object, nftnl_expr*);
} kExpressions[] = {
    {"meta", "meta", Meta},
    {"payload", "payload", Payload},
    {"source", "payload", Source},
    {"ct", "ct", Ct},
    {"fib", "fib", Fib},
    {"cmp", "cmp", Cmp},
    {"bitwise", "bitwise", Bitwise},
    {"lookup", "lookup", Lookup},
    {"immediate", "immediate", Immediate},
    {"verdict", "immediate", Verdict},
    {"nat", "nat", Nat},
    {"masquerade", "masq", Nothing},
    {"notrack", "notrack", Nothing},
    {"counter", "counter", Nothing},
    {"reject", "reject", Reject},
    {"rt", "rt", Rt},
    {"byteorder", "byteorder", Byteorder},
    {"tcpmss", "exthdr", TcpMss},
};

}  // namespace

void NftExpressionFree::operator()(nftnl_expr* expression) const {
  nftnl_expr_free(expression);
}

NftExpression ReadExpression(Input& input, Napi::Object object) {
  const std::string word = input.Text(object, "expr");
  for (const auto& kind : kExpressions) {
    if (word != kind.word) continue;
    NftExpression expression(nftnl_expr_alloc(kind.name));
    kind.fill(input, object, expression.get());
    return input.ok() ? std::move(expression) : nullptr;
  }
  if (input.ok()) input.Invalid("nft", "expr " + word);
  return nullptr;
}

}  // namespace cleat
