// conntrack-limit.cc: Outside.conntrackUse and Outside.conntrackLimit: read the use of the table that the whole
// namespace shares, and limit what one owner has of it.
//
// For: a table that is full drops everybody's new connections ("nf_conntrack: table full, dropping packet").
//
// Guarantees: an entry belongs to the owner of the address that began the connection, else to the owner of the address
// that answers it. Entries without an owner, and those of owners within the limit, are not touched. An owner above the
// limit loses as many entries as it had too many when the table was read: first those that the kernel too would give up
// first, because they are not assured (nf_conntrack_core.c, early_drop), then any.
//
// How: one walk counts. Only if an owner has too many, a second walk collects the entries to delete. The kernel cannot
// count per address at a tolerable price: the expression connlimit keeps a list per address and walks it when a
// connection begins (nf_conncount.c), 1 ms with 10,000 entries.
// Limits: about 2 us for each entry and walk. One call deletes at most kMostAtOnce entries, because a deletion is
// stored as its request, 150 bytes. The age of the assured entries is not known (nf_conntrack_timestamp is off by
// default).
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <algorithm>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../nftables/nft.h"
#include "conntrack-table.h"

namespace cleat {
namespace {

constexpr size_t kMostAtOnce = 65536;

struct Owners {
  static constexpr size_t kExempt = SIZE_MAX;

  size_t count = 0;
  std::unordered_map<std::string, size_t> addresses;
  std::vector<std::pair<Subnet, size_t>> subnets;

  void Add(Subnet subnet, size_t owner) {
    const bool one = subnet.bits == subnet.address.size() * 8;
    if (one) {
      addresses.emplace(std::move(subnet.address), owner);
    } else {
      subnets.emplace_back(std::move(subnet), owner);
    }
  }

  std::optional<size_t> OwnerOf(const std::string& address) const {
    std::optional<size_t> owner;
    const auto found = addresses.find(address);
    if (found != addresses.end()) {
      owner = found->second;
    } else {
      for (const auto& [subnet, whose] : subnets) {
        if (!owner && IsIn(address, subnet)) owner = whose;
      }
    }
    return owner == kExempt ? std::nullopt : owner;
  }

  std::optional<size_t> OwnerOf(const Entry& entry) const {
    const std::optional<size_t> owner = OwnerOf(entry.original.source);
    return owner ? owner : OwnerOf(entry.reply.source);
  }
};

// The entries of one owner: index 0 counts those that are not assured, index 1 the assured ones.
struct Counts {
  size_t entries[2] = {0, 0};
  size_t to_go[2] = {0, 0};
  size_t forgotten = 0;
};

class LimitJob : public Job {
 public:
  LimitJob(Napi::Env env, size_t limit, Owners owners) : Job(env), limit_(limit), owners_(std::move(owners)) {}

  Failure Execute(Worker& worker) override {
    const Failure failure = Limit(worker.nfnl());
    worker.nfnl().Close();  // as in conntrack.cc
    return failure;
  }

  Failure Limit(Nfnl& socket) {
    Failure failure = UntilConsistent("conntrack", [&] {
      counts_.assign(owners_.count, {});
      return Walk(socket, [&](const nlmsghdr*, size_t owner, bool assured) { counts_[owner].entries[assured]++; });
    });
    if (Unsupported(failure)) return {};
    if (failure || !Judge()) return failure;
    std::vector<std::vector<std::string>> deletes;  // per owner
    failure = UntilConsistent("conntrack", [&] {
      deletes.assign(owners_.count, {});
      size_t all = 0;
      std::vector<Counts> left = counts_;
      return Walk(socket, [&](const nlmsghdr* message, size_t owner, bool assured) {
        if (left[owner].to_go[assured] == 0 || all == kMostAtOnce) return;
        left[owner].to_go[assured]--;
        all++;
        deletes[owner].push_back(DeleteRequest(message, deletes[owner].size() % kDeletesPerSend));
      });
    });
    for (size_t owner = 0; owner < deletes.size() && !failure; owner++) {
      failure = DeleteEntries(socket, deletes[owner], &counts_[owner].forgotten);
    }
    return failure;
  }

  Napi::Value Resolve(Napi::Env env) override {
    counts_.resize(owners_.count);
    Napi::Array results = Napi::Array::New(env, counts_.size());
    for (uint32_t i = 0; i < counts_.size(); i++) {
      Napi::Object result = Napi::Object::New(env);
      result.Set("entries", static_cast<double>(counts_[i].entries[0] + counts_[i].entries[1]));
      result.Set("forgotten", static_cast<double>(counts_[i].forgotten));
      results.Set(i, result);
    }
    return results;
  }

 private:
  template <typename Fn>
  Failure Walk(Nfnl& socket, Fn visit) {
    alignas(nlmsghdr) char buffer[64];
    nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    return socket.Request(request, "IPCTNL_MSG_CT_GET", "conntrack", [&](const nlmsghdr* message) {
      const std::optional<Entry> entry = DecodeEntry(message);
      const std::optional<size_t> owner = entry ? owners_.OwnerOf(*entry) : std::nullopt;
      if (owner) visit(message, *owner, (entry->status & IPS_ASSURED) != 0);
    });
  }

  // Computes how many entries each owner must lose. Returns true if any owner must lose some.
  bool Judge() {
    bool any = false;
    for (Counts& counts : counts_) {
      const size_t all = counts.entries[0] + counts.entries[1];
      const size_t excess = all > limit_ ? all - limit_ : 0;
      counts.to_go[0] = std::min(excess, counts.entries[0]);
      counts.to_go[1] = excess - counts.to_go[0];
      any = any || excess > 0;
    }
    return any;
  }

  const size_t limit_;
  const Owners owners_;
  std::vector<Counts> counts_;
};

class UseJob : public Job {
 public:
  using Job::Job;

  Failure Execute(Worker& worker) override {
    const Failure failure = ReadTableUse(worker.nfnl(), &use_);
    return Unsupported(failure) ? Failure{} : failure;
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Object result = Napi::Object::New(env);
    result.Set("entries", static_cast<double>(use_.entries));
    result.Set("maximum", static_cast<double>(use_.maximum));
    return result;
  }

 private:
  TableUse use_;
};

}  // namespace

Napi::Value ConntrackUse(const Napi::CallbackInfo& info, Worker& worker) {
  return worker.Submit(std::make_unique<UseJob>(info.Env()));
}

Napi::Value ConntrackLimit(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  const Napi::Object object = input.Object(info[0], "limits");
  const auto limit = static_cast<size_t>(input.Integer(input.Get(object, "limit"), "limit", 1, UINT32_MAX));
  Owners owners;
  // Exempt addresses come first, so that no owner gets one of them.
  for (const std::string& text : input.Texts(input.Get(object, "exempt"), "exempt")) {
    owners.Add(ReadSubnet(input, text), Owners::kExempt);
  }
  for (const Napi::Value& owner : input.Items(input.Get(object, "owners"), "owners")) {
    for (const std::string& text : input.Texts(owner, "owners")) owners.Add(ReadSubnet(input, text), owners.count);
    owners.count++;
  }
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<LimitJob>(info.Env(), limit, std::move(owners)));
}

}  // namespace cleat
