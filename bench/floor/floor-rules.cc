// floor-rules.cc: see floor-rules.h. Registers: NFT_REG32_00 + n are the 4-byte ones that concatenations are built in.
#include "floor-rules.h"

#include <libnftnl/expr.h>
#include <linux/if.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include <cstring>

namespace floor_bench {

namespace {

nftnl_rule* Rule(const char* chain) {
  nftnl_rule* rule = nftnl_rule_alloc();
  nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, kTable);
  nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
  nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
  return rule;
}

nftnl_expr* Add(nftnl_rule* rule, const char* kind) {
  nftnl_expr* expression = nftnl_expr_alloc(kind);
  nftnl_rule_add_expr(rule, expression);
  return expression;
}

void Meta(nftnl_rule* rule, uint32_t key, uint32_t dreg) {
  nftnl_expr* meta = Add(rule, "meta");
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, dreg);
}

void Payload(nftnl_rule* rule, uint32_t base, uint32_t offset, uint32_t length, uint32_t dreg) {
  nftnl_expr* payload = Add(rule, "payload");
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, length);
  nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, dreg);
}

void Compare(nftnl_rule* rule, uint32_t sreg, uint32_t op, const void* data, uint32_t length) {
  nftnl_expr* compare = Add(rule, "cmp");
  nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_SREG, sreg);
  nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_OP, op);
  nftnl_expr_set(compare, NFTNL_EXPR_CMP_DATA, data, length);
}

void Mask(nftnl_rule* rule, uint32_t reg, uint32_t mask) {
  const uint32_t zero = 0;
  nftnl_expr* bitwise = Add(rule, "bitwise");
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_SREG, reg);
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_DREG, reg);
  nftnl_expr_set_u32(bitwise, NFTNL_EXPR_BITWISE_LEN, sizeof(mask));
  nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof(mask));
  nftnl_expr_set(bitwise, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof(zero));
}

void OnlyIpv4(nftnl_rule* rule) {
  const uint8_t ipv4 = NFPROTO_IPV4;
  Meta(rule, NFT_META_NFPROTO, NFT_REG32_00);
  Compare(rule, NFT_REG32_00, NFT_CMP_EQ, &ipv4, sizeof(ipv4));
}

}  // namespace

nftnl_rule* PublishRule(const char* chain) {
  nftnl_rule* rule = Rule(chain);
  const uint32_t local = RTN_LOCAL;
  OnlyIpv4(rule);
  nftnl_expr* fib = Add(rule, "fib");
  nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
  nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
  nftnl_expr_set_u32(fib, NFTNL_EXPR_FIB_DREG, NFT_REG32_00);
  Compare(rule, NFT_REG32_00, NFT_CMP_EQ, &local, sizeof(local));
  Meta(rule, NFT_META_L4PROTO, NFT_REG32_00);
  Payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_01);
  nftnl_expr* lookup = Add(rule, "lookup");
  nftnl_expr_set_str(lookup, NFTNL_EXPR_LOOKUP_SET, kPortMap);
  nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SET_ID, 1);
  nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SREG, NFT_REG32_00);
  nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_DREG, NFT_REG32_00);
  nftnl_expr* nat = Add(rule, "nat");
  nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
  nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_FAMILY, NFPROTO_IPV4);
  nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG32_00);
  nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_REG_PROTO_MIN, NFT_REG32_01);
  nftnl_expr_set_u32(nat, NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
  return rule;
}

nftnl_rule* MasqueradeRule(const char* chain, const std::string& bridge, uint32_t subnet, uint32_t mask) {
  nftnl_rule* rule = Rule(chain);
  OnlyIpv4(rule);
  Payload(rule, NFT_PAYLOAD_NETWORK_HEADER, 12, 4, NFT_REG32_00);
  Mask(rule, NFT_REG32_00, mask);
  Compare(rule, NFT_REG32_00, NFT_CMP_EQ, &subnet, sizeof(subnet));
  char name[IFNAMSIZ] = {};
  strncpy(name, bridge.c_str(), IFNAMSIZ - 1);
  Meta(rule, NFT_META_OIFNAME, NFT_REG_1);
  Compare(rule, NFT_REG_1, NFT_CMP_NEQ, name, sizeof(name));
  Add(rule, "masq");
  return rule;
}

nftnl_rule* AcceptPublishedRule(const char* chain) {
  nftnl_rule* rule = Rule(chain);
  nftnl_expr* status = Add(rule, "ct");
  nftnl_expr_set_u32(status, NFTNL_EXPR_CT_KEY, NFT_CT_STATUS);
  nftnl_expr_set_u32(status, NFTNL_EXPR_CT_DREG, NFT_REG32_00);
  const uint32_t none = 0;
  Mask(rule, NFT_REG32_00, IPS_DST_NAT);
  Compare(rule, NFT_REG32_00, NFT_CMP_NEQ, &none, sizeof(none));
  nftnl_expr* verdict = Add(rule, "immediate");
  nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT);
  return rule;
}

}  // namespace floor_bench
