// budget.h: how much of the forwarder an owner (a container), and each of its ports, may use.
//
// The descriptors of this process are one pool. A request is granted while the requester holds less than what is left
// (Choudhury and Hahne, "Dynamic queue length thresholds", IEEE/ACM ToN 6(2), 1998), and that on two levels:
//   - an owner may hold as many descriptors as are free in the process, for TCP and for UDP each;
//   - a port may hold as many connections (flows) as are left of its owner's Limits.
// A single greedy owner therefore stops at a half of the pool, two at a third each, and a new owner is always served.
// The same goes for the ports of one owner: a port alone has a half of what its owner may have. The TCP connections of
// an owner take nothing from its UDP flows, nor the other way round, as long as the pool is not short.
//
// Guarantees: a grant counts against its owner until it ends, on whichever thread that is. A granted connection never
// lacks a descriptor: it is counted with all that it can need. A port may always have one.
// Limits: shortages that others cause in the process (prlimit(2)) or that the machine has (ENFILE) are not foreseen:
// callers wait until they pass.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "endpoint.h"

namespace cleat_forwarder {

struct Limits {
  // TCP connections of one owner. Each takes about 10 KB of the kernel's memory while it is idle.
  int64_t connections = 16'384;
  // UDP flows of one owner.
  int64_t flows = 8192;
  // Seconds that a UDP flow lives without a datagram: RFC 4787, REQ-5, has 120 as the least.
  int64_t flow_idle = 120;
  // Seconds that a TCP connection with one closed direction lives without moving a byte: RFC 5382, REQ-5, has 4 minutes
  // as the least for closing connections. Linux's NAT allows 60 (nf_ct_tcp_timeout_close_wait).
  int64_t half_closed = 240;

  // Returns false if there is no such limit, or if it cannot have that value.
  bool Set(std::string_view name, int64_t value);
};

// Raises the soft limit on descriptors of this process to its hard limit.
void RaiseDescriptors();

class Budget;

// The connections and flows of one owner.
struct Account {
  Account(Budget* of, std::string owner) : budget(of), name(std::move(owner)) {}

  Budget* const budget;
  const std::string name;
  std::atomic<int64_t>& count(Protocol protocol) { return protocol == Protocol::kTcp ? connections_ : flows_; }

 private:
  std::atomic<int64_t> connections_ = 0;
  std::atomic<int64_t> flows_ = 0;
};

// One port's part of its owner's connections, for as long as the port belongs to this owner.
class Share {
 public:
  explicit Share(std::shared_ptr<Account> of) : owner(std::move(of)) {}

  // Returns true if one more is granted. Only the main thread checks and claims, so that the result still holds then.
  bool HasRoom(Protocol protocol) const;

  const std::shared_ptr<Account> owner;

 private:
  friend class Claim;
  std::atomic<int64_t> held_ = 0;
};

// Counts one connection or flow for as long as this object lives.
class Claim {
 public:
  Claim(std::shared_ptr<Share> of, Protocol protocol);
  Claim(Claim&& other) = default;
  ~Claim();

 private:
  void Count(int64_t by) const;

  std::shared_ptr<Share> of_;
  Protocol protocol_;
};

class Budget {
 public:
  void SetLimits(const Limits& limits);
  Limits limits() const;
  int64_t most(Protocol protocol) const { return protocol == Protocol::kTcp ? connections_ : flows_; }
  int64_t flow_idle_ms() const { return flow_idle_ * 1000; }
  int64_t half_closed_ms() const { return half_closed_ * 1000; }

  std::shared_ptr<Account> AccountOf(const std::string& owner);
  // Drops accounts that nobody holds any more.
  void ForgetAccounts();
  const std::map<std::string, std::shared_ptr<Account>>& accounts() const { return accounts_; }

  // Set how many descriptors ports, and the bonds of their owners, have; and return true if there may be so many.
  void CountPorts(size_t descriptors) { ports_ = static_cast<int64_t>(descriptors); }
  bool HasRoomForPorts(size_t descriptors) const;

  // Returns how many descriptors are granted to nobody, by the present limit of this process.
  int64_t free_descriptors() const;

 private:
  friend class Claim;

  std::map<std::string, std::shared_ptr<Account>> accounts_;
  std::atomic<int64_t> used_ = 0;  // descriptors of all grants
  int64_t ports_ = 0;
  // Other threads read these.
  std::atomic<int64_t> connections_ = Limits().connections;
  std::atomic<int64_t> flows_ = Limits().flows;
  std::atomic<int64_t> flow_idle_ = Limits().flow_idle;
  std::atomic<int64_t> half_closed_ = Limits().half_closed;
};

}  // namespace cleat_forwarder
