// conntrack-judge.cc: see conntrack-judge.h. It follows the rules of effects/ruleset/ruleset.ts.
#include "conntrack-judge.h"

#include <linux/netfilter/nf_conntrack_common.h>
#include <netinet/in.h>

#include <cstring>

namespace cleat {

bool IsIn(const std::string& address, const Subnet& subnet) {
  if (address.size() != subnet.address.size()) return false;
  const unsigned bytes = subnet.bits / 8;
  if (memcmp(address.data(), subnet.address.data(), bytes) != 0) return false;
  if (subnet.bits % 8 == 0) return true;
  const unsigned shift = 8 - subnet.bits % 8;
  return static_cast<uint8_t>(address[bytes]) >> shift == static_cast<uint8_t>(subnet.address[bytes]) >> shift;
}

namespace {

using Isolate = NetworkFacts::Isolate;

bool IsLoopback(const std::string& address) {
  static const Subnet v4{std::string("\x7f\0\0\0", 4), 8};
  static const Subnet v6{std::string("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16), 128};
  return IsIn(address, v4) || IsIn(address, v6);
}

bool IsLinkLocal(const std::string& address) {
  static const Subnet v6{std::string("\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16), 10};
  return IsIn(address, v6);
}

bool IsMulticast(const std::string& address) {
  const auto first = static_cast<uint8_t>(address[0]);
  return address.size() == 4 ? first >> 4 == 0xe : first == 0xff;
}

// Returns the network that a container's address belongs to; nullptr for a gateway, which is an address of the host.
const NetworkFacts* NetworkOf(const std::string& address, const Rules& rules, const IsLocal& is_local) {
  for (const NetworkFacts& network : rules.networks) {
    for (const Subnet& subnet : network.subnets) {
      if (IsIn(address, subnet)) return is_local(address) ? nullptr : &network;
    }
  }
  return nullptr;
}

bool HasPorts(uint8_t protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

// Returns the destination that the ruleset's maps have for the port of a first packet; nullptr if they lack the port.
const std::optional<Target>* PortOf(const Entry& entry, const Rules& rules, const IsLocal& is_local) {
  if (!HasPorts(entry.protocol)) return nullptr;
  const Tuple& original = entry.original;
  // The chain `publish` leaves link-local addresses to the host.
  if (IsLinkLocal(original.source) || IsLinkLocal(original.destination)) return nullptr;
  for (const std::string& address : {original.destination, std::string()}) {
    const auto found = rules.ports.find({entry.family, entry.protocol, address, original.destination_port});
    if (found != rules.ports.end()) return is_local(original.destination) ? &found->second : nullptr;
  }
  return nullptr;
}

bool LeadsTo(const Entry& entry, const std::string& address, uint16_t port) {
  return entry.reply.source == address && entry.reply.source_port == port;
}

// Returns true if a late answer of the container could take the very tuple that was deleted, so that the client would
// still be served. The answer is masqueraded with the port it comes from, if that port is free, and a segment that
// belongs to no known TCP connection begins one (nf_conntrack_tcp_loose). An entry of the present form in its place
// keeps the tuple taken.
bool AnswersCouldTakeIt(const Entry& entry, const std::optional<Target>& to) {
  const bool translated = entry.reply.source != entry.original.destination;
  return translated && entry.reply.source_port == entry.original.destination_port &&
         entry.reply.destination == entry.original.source &&
         (entry.protocol == IPPROTO_UDP || (entry.protocol == IPPROTO_TCP && !to));
}

// TCP and SCTP connections that were answered go on until they end.
bool GoesOn(const Entry& entry) {
  return entry.protocol != IPPROTO_UDP && (entry.status & IPS_SEEN_REPLY) != 0;
}

// Returns true if packets that leave the network would have the source that this entry gives them.
bool HasItsSource(const Entry& entry, const NetworkFacts& from) {
  for (const std::string& address : from.outbound) {
    if (address.size() == entry.original.source.size() && address != entry.reply.destination) return false;
  }
  return true;
}

// Applies, rule by rule, the chains forward and postrouting to the two addresses of an entry.
bool MayPass(const Entry& entry, const Rules& rules, const IsLocal& is_local) {
  const std::string& source = entry.original.source;
  const std::string& destination = entry.reply.source;
  const NetworkFacts* from = NetworkOf(source, rules, is_local);
  const NetworkFacts* to = NetworkOf(destination, rules, is_local);
  const bool published = (entry.status & IPS_DST_NAT) != 0;
  const bool masqueraded = entry.reply.destination != source;

  if (from != nullptr && from != to && !is_local(destination)) {
    if (from->internal) return false;
    if (from->masquerade && !IsMulticast(destination)) {
      if (!masqueraded) return false;
      if (!HasItsSource(entry, *from) && !GoesOn(entry)) return false;
    }
  }
  if (to == nullptr) return true;
  if (published && !masqueraded && (from == to || IsLoopback(source))) return false;
  if (from == to) return true;
  if (from == nullptr && is_local(source)) return true;
  if (to->internal) return false;
  if (published) return true;
  if (from == nullptr || to->isolate == Isolate::kStrict) return false;
  const Isolate other = from->internal ? Isolate::kStrict : from->isolate;
  return other == Isolate::kOpen || (other == Isolate::kIsolated && to->isolate == Isolate::kOpen);
}

}  // namespace

Judgement Judge(const Entry& entry, const Rules& rules, const IsLocal& is_local) {
  for (const Tuple* tuple : {&entry.original, &entry.reply}) {
    if (rules.addresses.count(tuple->source) != 0 || rules.addresses.count(tuple->destination) != 0) {
      return {Fate::kForget, {}};
    }
  }
  if ((entry.status & IPS_EXPECTED) != 0) return {};
  if (const std::optional<Target>* to = PortOf(entry, rules, is_local)) {
    const Tuple& original = entry.original;
    const bool right = *to ? LeadsTo(entry, (*to)->address, (*to)->port)
                           : LeadsTo(entry, original.destination, original.destination_port);
    if (!right && !(*to && GoesOn(entry))) {
      if (AnswersCouldTakeIt(entry, *to)) return {Fate::kReplace, *to};
      return {Fate::kForget, {}};
    }
  }
  return {MayPass(entry, rules, is_local) ? Fate::kKeep : Fate::kForget, {}};
}

}  // namespace cleat
