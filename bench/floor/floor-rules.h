// The rules of the floor program's table: they do what cleat's do with a published port and an outgoing packet.
//
// Guarantees: each function returns a whole rule for the named chain, owned by the caller (nftnl_rule_free).
// Limits: IPv4; the names below are the only table and map there are.
#ifndef CLEAT_BENCH_FLOOR_RULES_H_
#define CLEAT_BENCH_FLOOR_RULES_H_

#include <libnftnl/rule.h>

#include <cstdint>
#include <string>

namespace floor_bench {

constexpr char kTable[] = "cleat_floor";
constexpr char kPortMap[] = "ports";

// fib daddr type local dnat ip to meta l4proto . th dport map @ports
nftnl_rule* PublishRule(const char* chain);
// ip saddr subnet oifname != bridge masquerade; `subnet` and `mask` in network byte order.
nftnl_rule* MasqueradeRule(const char* chain, const std::string& bridge, uint32_t subnet, uint32_t mask);
// ct status dnat accept
nftnl_rule* AcceptPublishedRule(const char* chain);

}  // namespace floor_bench

#endif  // CLEAT_BENCH_FLOOR_RULES_H_
