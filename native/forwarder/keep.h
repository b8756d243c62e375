// keep.h: prepares a namespace so that a connection into it can come from an address that is not its own.
//
// The socket inside is bound to the client's address (IP_TRANSPARENT, ip(7)) and marked. The container's answers must
// come to that socket, and not be routed out to the client:
//   - the mark passes to the accepted connection (net.ipv4.tcp_fwmark_accept, for IPv6 too) and to answers that no
//     socket gives, resets above all (fwmark_reflect): Documentation/networking/ip-sysctl.rst;
//   - marked packets are looked up in a table of their own (rule kMark -> kTable), where every address is local.
// Connections of the container itself are not marked and not affected.
//
// Mark, table and protocol numbers are "clea" in ASCII: no range of bits that others are known to use for marks
// (Kubernetes 0xc000, Cilium 0xffff, Calico 0xffff0000, Tailscale 0xff0000, all of them outside of containers; wg-quick
// 0xca6c as mark and table), and no table below 256 as people choose them.
//
// Guarantees: done twice, it leaves one rule and one route per family. Limits: the sysctls stay on when the rest is
// removed: without a mark they do nothing. UDP has no accepted socket that could inherit a mark: its clients do not
// keep their addresses.
#pragma once

#include <sys/socket.h>

#include <cstdint>

namespace cleat_forwarder {

constexpr uint32_t kMark = 0x636c6561;
constexpr uint32_t kTable = kMark;
// After the local table (0), before main (32766) and what people put in front of it.
constexpr uint32_t kPriority = 99;

// Prepares the namespace that the thread is in. False if something is missing: clients of the family do not keep
// addresses.
bool Keep(sa_family_t family);
// Removes the rules and routes of both families.
void StopKeeping();

}  // namespace cleat_forwarder
