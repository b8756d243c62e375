// conntrack.cc: Outside.conntrackForget: deletes the connections that the present rules would not make.
//
// Guarantees: afterwards no entry is left that existed when the call was made and that conntrack-judge.h deletes; other
// entries are not touched. Entries are deleted by tuple and id, so that one made anew for the same tuple in between
// stays. An entry that is replaced is gone or of the new form, whatever late answers do meanwhile. On a kernel without
// connection tracking the result is 0.
//
// How: one dump of everything, judged here. The dump walks the hash table that all namespaces share (9 ms for 262,144
// buckets, empty). So it has a thread of its own beside the outside's other work, calls that wait for it at the same
// time share one walk and one result, and a namespace that tracks nothing needs no walk. A filter in the kernel
// (CTA_FILTER) would need a walk for each of source and destination of both tuples. For IPv6 it is also the wrong way
// round: it returns everything but what was requested (nf_conntrack_netlink.c, ctnetlink_filter_match_tuple; seen on
// 6.18).
// Limits: about 2 us for each entry of the namespace. SCTP entries are deleted, never replaced: the first chunk of
// a packet without an entry decides alone if the packet can make one (nf_conntrack_proto_sctp.c, sctp_new).
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "../netlink/nlattr.h"
#include "../nftables/nfnl.h"
#include "../nftables/nft.h"
#include "../node/input.h"
#include "conntrack-judge.h"
#include "conntrack-table.h"

namespace cleat {
namespace {

// A late answer takes the tuple between the two requests of a replacement only if it is as quick as the kernel is from
// one request to the next (1 us).
constexpr int kReplaceAttempts = 64;

// Asks the kernel which addresses are the host's own, each once.
class LocalAddresses {
 public:
  explicit LocalAddresses(RtnlSocket& socket) : socket_(socket) {}

  bool Has(const std::string& address) {
    const auto known = known_.find(address);
    if (known != known_.end()) return known->second;
    bool local = false;
    if (Failure failure = Ask(address, &local)) failure_ = failure;
    known_.emplace(address, local);
    return local;
  }
  const Failure& failure() const { return failure_; }
  void Close() { socket_.Close(); }

 private:
  Failure Ask(const std::string& address, bool* local) {
    constexpr char kName[] = "RTM_GETROUTE";
    if (Failure failure = socket_.Open()) return failure;
    alignas(nlmsghdr) char buffer[128] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETROUTE;
    request->nlmsg_flags = NLM_F_REQUEST;
    const uint32_t sequence = request->nlmsg_seq = socket_.NextSequence();
    auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
    header->rtm_family = address.size() == sizeof(in_addr) ? AF_INET : AF_INET6;
    header->rtm_dst_len = static_cast<uint8_t>(address.size() * 8);
    mnl_attr_put(request, RTA_DST, address.size(), address.data());
    if (Failure failure = socket_.Send(request, request->nlmsg_len, kName)) return failure;
    // An error means that no route leads there.
    return socket_.Receive(kName, [&](const nlmsghdr* answer) {
      if (answer->nlmsg_seq != sequence) return true;
      const auto* route = answer->nlmsg_type == RTM_NEWROUTE ? HeaderOf<rtmsg>(answer) : nullptr;
      *local = route != nullptr && route->rtm_type == RTN_LOCAL;
      return false;
    });
  }

  RtnlSocket& socket_;
  Failure failure_;
  std::unordered_map<std::string, bool> known_;
};

class ForgetJob : public Job {
 public:
  // Adds the rules to the job of this worker that still waits, or to a new one, and returns its promise. They replace
  // what earlier calls gave for the same ports and networks. Event loop only.
  static Napi::Value Submit(Napi::Env env, Worker& worker, RtnlSocket& rtnl, Rules rules) {
    std::lock_guard<std::mutex> lock(Mutex());
    ForgetJob*& waiting = Waiting()[&worker];
    if (waiting == nullptr) {
      auto job = std::make_unique<ForgetJob>(env, rtnl);
      waiting = job.get();
      waiting->promise_ = Napi::Persistent(worker.Submit(std::move(job)).As<Napi::Object>());
    }
    Rules& all = waiting->rules_;
    all.addresses.merge(rules.addresses);
    for (auto& [port, to] : rules.ports) all.ports[port] = std::move(to);
    if (!rules.networks.empty()) all.networks = std::move(rules.networks);
    return waiting->promise_.Value();
  }

  ForgetJob(Napi::Env env, RtnlSocket& rtnl) : Job(env), local_(rtnl) {}

  Failure Execute(Worker& worker) override {
    {
      std::lock_guard<std::mutex> lock(Mutex());
      Waiting().erase(&worker);
    }
    const Failure failure = Forget(worker.nfnl());
    // Leaves no socket open for the next walk: a walk is rare, and opening sockets costs nothing beside it.
    worker.nfnl().Close();
    local_.Close();
    return failure;
  }

  Napi::Value Resolve(Napi::Env env) override { return Napi::Number::New(env, static_cast<double>(forgotten_)); }

 private:
  Failure Forget(Nfnl& socket) {
    TableUse use;
    Failure failure = ReadTableUse(socket, &use);
    if (Unsupported(failure) || (!failure && use.entries == 0)) return {};
    if (!failure) failure = UntilConsistent("conntrack", [&] { return Dump(socket); });
    if (Unsupported(failure)) return {};
    if (!failure) failure = local_.failure();
    if (!failure) failure = DeleteEntries(socket, deletes_, &forgotten_);
    for (size_t i = 0; i < replacements_.size() && !failure; i++) failure = Replace(socket, replacements_[i]);
    return failure;
  }

  using Replacement = std::pair<Entry, std::optional<Target>>;

  static std::mutex& Mutex() {
    static auto& mutex = *new std::mutex;
    return mutex;
  }
  static std::map<const Worker*, ForgetJob*>& Waiting() {  // guarded by Mutex
    static auto& waiting = *new std::map<const Worker*, ForgetJob*>;
    return waiting;
  }

  Failure Dump(Nfnl& socket) {
    deletes_.clear();
    replacements_.clear();
    alignas(nlmsghdr) char buffer[64];
    nlmsghdr* request = BeginConntrack(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);
    return socket.Request(request, "IPCTNL_MSG_CT_GET", "conntrack", [&](const nlmsghdr* message) {
      std::optional<Entry> entry = DecodeEntry(message);
      if (!entry) return;
      Judgement judged = Judge(*entry, rules_, [this](const std::string& address) { return local_.Has(address); });
      if (judged.fate == Fate::kForget) {
        deletes_.push_back(DeleteRequest(message, deletes_.size() % kDeletesPerSend));
      } else if (judged.fate == Fate::kReplace) {
        replacements_.emplace_back(std::move(*entry), std::move(judged.to));
      }
    });
  }

  // Repeats until the entry that has the tuple is of the present form. An entry that took the tuple in between is
  // deleted by the next attempt.
  Failure Replace(Nfnl& socket, const Replacement& replacement) {
    forgotten_++;
    const auto& [entry, to] = replacement;
    int error = 0;
    for (int i = 0; i < kReplaceAttempts; i++) {
      std::string messages = ReplaceRequests(entry, to);
      Nfnl::Refusal refusal;
      size_t acknowledged = 0;
      if (Failure failure = socket.Commit(&messages, &refusal, &acknowledged)) return failure;
      const bool gone = refusal.sequence == 0 && refusal.error == ENOENT;
      if (refusal.error == 0 || (gone && acknowledged == 1)) return {};
      error = refusal.error;
      if (error != EEXIST && !gone) break;
    }
    return {error, "IPCTNL_MSG_CT_NEW", "conntrack"};
  }

  Rules rules_;  // guarded by Mutex until Execute
  LocalAddresses local_;
  std::vector<std::string> deletes_;
  std::vector<Replacement> replacements_;
  size_t forgotten_ = 0;
  Napi::ObjectReference promise_;  // event loop only
};

// --- The rules as JavaScript passes them (index.ts, ConntrackRules) ----------------------------------------------

NetworkFacts ReadNetwork(Input& input, Napi::Value value) {
  using Isolate = NetworkFacts::Isolate;
  static const std::map<std::string, Isolate> kIsolates{
      {"strict", Isolate::kStrict}, {"isolated", Isolate::kIsolated}, {"open", Isolate::kOpen}};
  const Napi::Object object = input.Object(value, "networks");
  NetworkFacts network;
  for (const std::string& subnet : input.Texts(input.Get(object, "subnets"), "subnets")) {
    network.subnets.push_back(ReadSubnet(input, subnet));
  }
  network.internal = input.OptionalFlag(object, "internal").value_or(false);
  network.masquerade = input.OptionalFlag(object, "masquerade").value_or(false);
  for (const std::string& address : input.Texts(input.Get(object, "outbound"), "outbound")) {
    network.outbound.push_back(ReadAddress(input, address));
  }
  const std::string isolate = input.Text(object, "isolate");
  const auto found = kIsolates.find(isolate);
  if (found == kIsolates.end()) {
    input.Invalid("conntrack", "isolate " + isolate);
  } else {
    network.isolate = found->second;
  }
  return network;
}

void ReadPort(Input& input, Napi::Value value, Rules* rules) {
  static const std::map<std::string, uint8_t> kProtocols{
      {"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"sctp", IPPROTO_SCTP}};
  const Napi::Object object = input.Object(value, "ports");
  const std::string name = input.Text(object, "protocol");
  const auto protocol = kProtocols.find(name);
  const int family = input.Uint(object, "family", 6) == 4 ? AF_INET : AF_INET6;
  const auto port = static_cast<uint16_t>(input.Uint(object, "hostPort", UINT16_MAX));
  const std::string text = input.Text(object, "hostIp");
  int of_host = family;
  const std::string host = text.empty() ? text : ReadAddress(input, text, &of_host);
  std::optional<Target> to;
  int of_target = family;
  if (const std::optional<std::string> address = input.OptionalText(object, "address")) {
    to = Target{ReadAddress(input, *address, &of_target), 0};
    to->port = static_cast<uint16_t>(input.Uint(object, "containerPort", UINT16_MAX));
  }
  if (!input.ok()) return;
  if (protocol == kProtocols.end() || of_host != family || of_target != family) {
    input.Invalid("conntrack", "port " + std::to_string(port));
    return;
  }
  rules->ports[{family, protocol->second, host, port}] = std::move(to);
}

}  // namespace

Napi::Value ConntrackForget(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& rtnl) {
  Input input(info.Env());
  const Napi::Object object = input.Object(info[0], "rules");
  Rules rules;
  for (const std::string& address : input.Texts(input.Get(object, "addresses"), "addresses")) {
    rules.addresses.insert(ReadAddress(input, address));
  }
  for (const Napi::Value& port : input.Items(input.Get(object, "ports"), "ports")) ReadPort(input, port, &rules);
  for (const Napi::Value& network : input.Items(input.Get(object, "networks"), "networks")) {
    rules.networks.push_back(ReadNetwork(input, network));
  }
  if (!input.ok()) return input.Rejection();
  return ForgetJob::Submit(info.Env(), worker, rtnl, std::move(rules));
}

}  // namespace cleat
