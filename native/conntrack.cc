// conntrack.cc: Outside.conntrackFlush: forget the connections of an address that changes hands.
//
// For: an entry outlives the container it was made for, and would send the packets of an old client to whoever gets
// the address next, or keep a port open after it was unpublished.
//
// Guarantees: afterwards no entry that existed when the call was made has the address in its original or reply tuple.
// Entries are deleted by tuple and id, so that one made anew for the same tuple in between stays.
// A kernel without connection tracking has nothing to forget: 0.
//
// How: one dump of everything, filtered here. It walks the hash table that all namespaces share (9 ms for 262,144
// buckets, empty), so calls that wait in the worker's queue at the same time share one walk and one result, and a
// namespace that tracks nothing is not walked for. Letting the kernel filter (CTA_FILTER) needs a walk for each of
// source and destination of both tuples, and is the wrong way round for IPv6: it gives everything but what was asked
// for (nf_conntrack_netlink.c, ctnetlink_filter_match_tuple; seen on 6.18). Limits: about 2 us for each entry of the
// namespace, during which the worker does nothing else.
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "conntrack-entry.h"
#include "input.h"
#include "nfnl.h"
#include "nft.h"
#include "nlattr.h"

namespace cleat {
namespace {

constexpr size_t kDeletesPerSend = 256;

// What a kernel without (this part of) connection tracking answers; an unknown subsystem is EINVAL (nfnetlink.c).
bool Unsupported(const Failure& failure) {
  return failure.error == EOPNOTSUPP || failure.error == EINVAL || failure.error == EPROTONOSUPPORT;
}

class FlushJob : public Job {
 public:
  // The promise of this worker's job that still waits, or of a new one; with the address on its list (event loop).
  static Napi::Value Submit(Napi::Env env, Worker& worker, std::string address) {
    std::lock_guard<std::mutex> lock(Mutex());
    FlushJob*& waiting = Waiting()[&worker];
    if (waiting == nullptr) {
      auto job = std::make_unique<FlushJob>(env);
      waiting = job.get();
      waiting->promise_ = Napi::Persistent(worker.Submit(std::move(job)).As<Napi::Object>());
    }
    waiting->addresses_.insert(std::move(address));
    return waiting->promise_.Value();
  }

  using Job::Job;

  Failure Execute(Worker& worker) override {
    {
      std::lock_guard<std::mutex> lock(Mutex());
      Waiting().erase(&worker);
    }
    uint32_t entries = 1;
    Failure failure = Count(worker.nfnl(), &entries);
    if (Unsupported(failure) || entries == 0) return {};
    std::vector<std::string> deletes;
    if (!failure) failure = UntilConsistent("conntrack", [&] { return Dump(worker.nfnl(), &deletes); });
    if (Unsupported(failure)) return {};
    return failure ? failure : Delete(worker.nfnl(), deletes);
  }

  Napi::Value Resolve(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(deleted_)); }

 private:
  static std::mutex& Mutex() {
    static auto& mutex = *new std::mutex;
    return mutex;
  }
  static std::map<const Worker*, FlushJob*>& Waiting() {  // guarded by Mutex
    static auto& waiting = *new std::map<const Worker*, FlushJob*>;
    return waiting;
  }

  // How many entries the namespace has.
  static Failure Count(Nfnl& socket, uint32_t* entries) {
    alignas(nlmsghdr) char buffer[64];
    nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, AF_UNSPEC);
    return socket.Request(request, "IPCTNL_MSG_CT_GET_STATS", "conntrack", [&](const nlmsghdr* answer) {
      EachAttribute(answer, sizeof(nfgenmsg), [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) != CTA_STATS_GLOBAL_ENTRIES) return;
        if (const std::optional<uint32_t> count = NumberOf<uint32_t>(attribute)) *entries = ntohl(*count);
      });
    });
  }

  Failure Dump(Nfnl& socket, std::vector<std::string>* deletes) const {
    deletes->clear();
    alignas(nlmsghdr) char buffer[64];
    nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    return socket.Request(request, "IPCTNL_MSG_CT_GET", "conntrack", [&](const nlmsghdr* entry) {
      if (!Holds(entry, addresses_)) return;
      deletes->push_back(DeleteRequest(entry, deletes->size() % kDeletesPerSend));
    });
  }

  Failure Delete(Nfnl& socket, const std::vector<std::string>& deletes) {
    for (size_t next = 0; next < deletes.size();) {
      std::string messages;
      for (size_t i = 0; i < kDeletesPerSend && next < deletes.size(); i++) messages += deletes[next++];
      Nfnl::Refusal refusal;
      size_t acknowledged = 0;
      if (Failure failure = socket.Commit(&messages, &refusal, &acknowledged)) return failure;
      deleted_ += acknowledged;
      // ENOENT: ended by itself in between.
      if (refusal.error != 0 && refusal.error != ENOENT) return {refusal.error, "IPCTNL_MSG_CT_DELETE", "conntrack"};
    }
    return {};
  }

  Addresses addresses_;  // guarded by Mutex until Execute
  size_t deleted_ = 0;
  Napi::ObjectReference promise_;  // event loop only
};

}  // namespace

Napi::Value ConntrackFlush(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  const std::string text = input.Text(info[0], "address");
  const std::optional<IpAddress> address = ParseIpAddress(text);
  if (input.ok() && !address) input.Invalid("inet_pton", text);
  if (!input.ok()) return input.Rejection();
  const auto* bytes = reinterpret_cast<const char*>(address->bytes.data());
  return FlushJob::Submit(info.Env(), worker, std::string(bytes, address->size()));
}

}  // namespace cleat
