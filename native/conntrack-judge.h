// conntrack-judge.h: whether the rules of now would make an entry of connection tracking in the form it has.
//
// For: rules judge first packets; what was made under earlier rules, by whoever had the address before, or while the
// ruleset was gone, is believed for as long as it is used. docs/firewall.md has the same as a table.
//
// Guarantees: pure. What is not known is left alone: a port or a network that the rules do not speak of is nobody's
// business, and so is a translation that leads elsewhere than theirs by a port they do not speak of.
//
// Entries that the rules forbid are deleted whatever their protocol: an address without an owner, a closed port, a path
// that isolation or an internal network closes, an address that leaves untranslated. An entry that would only lead
// elsewhere now is deleted unless it is a TCP or SCTP connection that was answered: that one goes on until it ends.
// Limits: an entry does not say which interface its first packet came in by, so that is inferred from the source.
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

// The facts about a network that its rules are made from (effects/ruleset.ts).
struct NetworkFacts {
  enum class Isolate { kStrict, kIsolated, kOpen };

  std::vector<Subnet> subnets;
  bool internal = false;
  bool masquerade = false;
  std::vector<std::string> outbound;  // source addresses of what leaves, where they were chosen
  Isolate isolate = Isolate::kStrict;
};

struct Rules {
  std::unordered_set<std::string> addresses;        // that have no owner any more
  std::map<HostPort, std::optional<Target>> ports;  // where host ports lead; closed ones nowhere
  std::vector<NetworkFacts> networks;               // of the outside
};

enum class Fate { kKeep, kForget, kReplace };

struct Judgement {
  Fate fate = Fate::kKeep;
  // The destination by the present rules, for an entry that is replaced.
  std::optional<Target> to;
};

// is_local: whether an address is one of the host's own, as the rules ask it (fib daddr type local).
using IsLocal = std::function<bool(const std::string& address)>;

Judgement Judge(const Entry& entry, const Rules& rules, const IsLocal& is_local);

}  // namespace cleat
