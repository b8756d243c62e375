// conntrack-judge.h: decides if the present rules would make an entry of connection tracking in the form it has.
//
// For: rules judge first packets only. The kernel trusts an entry for as long as it is used, even if it was made under
// earlier rules, by a previous user of the address, or while the ruleset was gone. docs/firewall.md has the same as a
// table.
//
// Guarantees: pure. It leaves alone what the rules do not name: an entry with an unknown port or network, and a
// translation that leads elsewhere than theirs by an unknown port.
//
// Entries that the rules forbid are deleted whatever their protocol: an address without an owner, a closed port, a path
// that isolation or an internal network closes, an address that leaves untranslated. An entry that would only lead
// elsewhere now is deleted unless it is a TCP or SCTP connection that was answered: that one goes on until it ends.
// Limits: an entry does not say by which interface its first packet came in, so that is inferred from the source.
// Connections that a helper expected (IPS_EXPECTED: the data connections of FTP) are judged by their addresses alone.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_set>
#include <vector>

#include "conntrack-entry.h"

namespace cleat {

// Family, protocol, address of the host ("" for all of them), port.
using HostPort = std::tuple<int, uint8_t, std::string, uint16_t>;

struct Subnet {
  std::string address;
  unsigned bits = 0;
};

bool IsIn(const std::string& address, const Subnet& subnet);

// The facts about a network that its rules are made from (effects/ruleset/ruleset.ts).
struct NetworkFacts {
  enum class Isolate { kStrict, kIsolated, kOpen };

  std::vector<Subnet> subnets;
  bool internal = false;
  bool masquerade = false;
  std::vector<std::string> outbound;  // source addresses of packets that leave, if any were chosen
  Isolate isolate = Isolate::kStrict;
};

struct Rules {
  std::unordered_set<std::string> addresses;        // addresses that have no owner any more
  std::map<HostPort, std::optional<Target>> ports;  // the target of each host port; none for a closed one
  std::vector<NetworkFacts> networks;               // all networks of the outside
};

enum class Fate { kKeep, kForget, kReplace };

struct Judgement {
  Fate fate = Fate::kKeep;
  // The destination by the present rules, for an entry that is replaced.
  std::optional<Target> to;
};

// Returns true if an address is one of the host's own, by the same test as the rules (fib daddr type local).
using IsLocal = std::function<bool(const std::string& address)>;

Judgement Judge(const Entry& entry, const Rules& rules, const IsLocal& is_local);

}  // namespace cleat
