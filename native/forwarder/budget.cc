// budget.cc: see budget.h.
#include "budget.h"

#include <sys/resource.h>

#include <algorithm>

namespace cleat_forwarder {

namespace {

// The process needs these for itself: standard streams, loops and spare pipes of its threads, the control socket with
// its sessions, and the descriptors that a dial opens for a moment.
constexpr int64_t kForItself = 96;
// Two sockets, and a pipe for each direction while data waits in it.
constexpr int64_t kForConnection = 6;
constexpr int64_t kForFlow = 1;
// Ports that only listen cannot use this part of the pool.
constexpr int64_t kNotForPorts = 8;

constexpr int64_t kMost = 1'000'000;
constexpr int64_t kMostSeconds = 7 * 86'400;

int64_t Descriptors() {
  rlimit limit{};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? static_cast<int64_t>(limit.rlim_cur) : 0;  // <= fs.nr_open
}

int64_t CostOf(Protocol protocol) {
  return protocol == Protocol::kTcp ? kForConnection : kForFlow;
}

}  // namespace

void RaiseDescriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // a failure is ignored: fewer descriptors are enough to begin
}

bool Limits::Set(std::string_view name, int64_t value) {
  struct {
    std::string_view name;
    int64_t* value;
    int64_t most;
  } const all[] = {{"connections", &connections, kMost},
                   {"flows", &flows, kMost},
                   {"flow_idle", &flow_idle, kMostSeconds},
                   {"half_closed", &half_closed, kMostSeconds}};
  for (const auto& each : all) {
    if (each.name != name) continue;
    if (value < 1 || value > each.most) return false;
    *each.value = value;
    return true;
  }
  return false;
}

bool Share::HasRoom(Protocol protocol) const {
  const Budget& budget = *owner->budget;
  int64_t cost = CostOf(protocol);
  int64_t free = budget.free_descriptors();
  int64_t of_owner = owner->count(protocol);
  if (free < cost || of_owner * cost >= free) return false;
  return held_ < std::max<int64_t>(budget.most(protocol) - of_owner, 1);
}

Claim::Claim(std::shared_ptr<Share> of, Protocol protocol) : of_(std::move(of)), protocol_(protocol) {
  Count(1);
}

Claim::~Claim() {
  if (of_ != nullptr) Count(-1);
}

void Claim::Count(int64_t by) const {
  Account& owner = *of_->owner;
  owner.count(protocol_) += by;
  of_->held_ += by;
  owner.budget->used_ += by * CostOf(protocol_);
}

void Budget::SetLimits(const Limits& limits) {
  connections_ = limits.connections;
  flows_ = limits.flows;
  flow_idle_ = limits.flow_idle;
  half_closed_ = limits.half_closed;
}

Limits Budget::limits() const {
  return {connections_, flows_, flow_idle_, half_closed_};
}

std::shared_ptr<Account> Budget::AccountOf(const std::string& owner) {
  std::shared_ptr<Account>& account = accounts_[owner];
  if (account == nullptr) account = std::make_shared<Account>(this, owner);
  return account;
}

void Budget::ForgetAccounts() {
  for (auto account = accounts_.begin(); account != accounts_.end();) {
    account = account->second.use_count() == 1 ? accounts_.erase(account) : std::next(account);
  }
}

bool Budget::HasRoomForPorts(size_t descriptors) const {
  return static_cast<int64_t>(descriptors) <= Descriptors() - kForItself - Descriptors() / kNotForPorts;
}

int64_t Budget::free_descriptors() const {
  return Descriptors() - kForItself - ports_ - used_;
}

}  // namespace cleat_forwarder
