// nft-monitor.cc: Outside.nftMonitor: what other processes do to a table of ours (NFNLGRP_NFTABLES).
//
// Guarantees: one event for each transaction of another process that did anything to the table: to itself, a chain, a
// rule, a set, an element. Nothing for the transactions of this process, through whichever Outside. And the guarantees
// of announcements.h.
// Whose a transaction is, its netlink port tells, which is on every message of it. NFTA_GEN_PROC_PID does not: it is
// the id of a thread, in the initial pid namespace, which need not be ours.
//
// How: the messages of a transaction come in one piece, and a NFT_MSG_NEWGEN ends it (nf_tables_commit). Those of this
// outside's own transactions stay in the kernel, by a filter on the port, and the event loop does not wake for them: no
// difference to not listening (71 us for one element, 1.9 ms for 500), where reading them costs 18 us a transaction.
// Limits: as soon as anybody listens, in whatever namespace, the kernel makes a message for each element of a
// transaction and keeps them all until its end: 100 MB for 20,000 elements.
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <cstring>
#include <utility>

#include "announcements.h"
#include "input.h"
#include "nft.h"
#include "nlattr.h"

namespace cleat {

namespace {

Subscription SubscriptionBut(uint32_t port) {
  Subscription to{NETLINK_NETFILTER, "NETLINK_NETFILTER"};
  to.groups = 1 << (NFNLGRP_NFTABLES - 1);
  to.filter = {
      // nlmsg_pid, in host byte order, as the big-endian word that BPF takes it for. All messages of a datagram have
      // the
      // same.
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(nlmsghdr, nlmsg_pid)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(port), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
  };
  return to;
}

class Reader : public Announcements {
 public:
  Reader(Napi::Function listener, std::string table) : Announcements(listener), table_(std::move(table)) {}

  Identity netns;  // that is listened in; known before the first message

 private:
  Napi::Value Take(Napi::Env env, const nlmsghdr* message, std::optional<int>) override {
    if (NFNL_SUBSYS_ID(message->nlmsg_type) != NFNL_SUBSYS_NFTABLES) return {};
    if (NFNL_MSG_TYPE(message->nlmsg_type) != NFT_MSG_NEWGEN) {
      touched_ = touched_ || IsOfTable(message);
      return {};
    }
    if (!std::exchange(touched_, false) || Nfnl::IsOurs(netns, message->nlmsg_pid)) return {};
    Napi::Object event = Event(env, "changed");
    event.Set("pid", env.Null());
    event.Set("command", env.Null());
    EachAttribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
      const char* payload = static_cast<const char*>(mnl_attr_get_payload(attribute));
      const size_t size = mnl_attr_get_payload_len(attribute);
      if (mnl_attr_get_type(attribute) == NFTA_GEN_PROC_PID && size >= sizeof(uint32_t)) {
        event.Set("pid", ntohl(mnl_attr_get_u32(attribute)));
      } else if (mnl_attr_get_type(attribute) == NFTA_GEN_PROC_NAME) {
        event.Set("command", std::string(payload, strnlen(payload, size)));
      }
    });
    return event;
  }

  void Forget() override { touched_ = false; }

  // Every message about something in a table begins with the table's name, whatever is done to what (NFTA_TABLE_NAME,
  // NFTA_CHAIN_TABLE ...: attribute 1). By that, not by type: kernels add types (NFT_MSG_DESTROYTABLE ..., 6.3).
  bool IsOfTable(const nlmsghdr* message) const {
    if (mnl_nlmsg_get_payload_len(message) < sizeof(nfgenmsg) + sizeof(nlattr)) return false;
    if (static_cast<const nfgenmsg*>(mnl_nlmsg_get_payload(message))->nfgen_family != NFPROTO_INET) return false;
    auto* first = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(nfgenmsg)));
    if (!mnl_attr_ok(first, static_cast<int>(mnl_nlmsg_get_payload_len(message) - sizeof(nfgenmsg)))) return false;
    const char* name = static_cast<const char*>(mnl_attr_get_payload(first));
    return mnl_attr_get_type(first) == NFTA_TABLE_NAME &&
           table_.compare(0, std::string::npos, name, strnlen(name, mnl_attr_get_payload_len(first))) == 0;
  }

  const std::string table_;
  bool touched_ = false;  // by the transaction whose messages are coming in
};

class MonitorJob : public Job {
 public:
  MonitorJob(Napi::Env env, std::shared_ptr<Reader> reader) : Job(env), reader_(std::move(reader)) {}

  Failure Execute(Worker& worker) override {
    uint32_t port;
    if (Failure failure = worker.nfnl().Port(&port)) return failure;
    if (Failure failure = IdentifyNetns(worker.home(), "NETLINK_NETFILTER", &reader_->netns)) return failure;
    return OpenAnnouncements(SubscriptionBut(port), &socket_);
  }

  Napi::Value Resolve(Napi::Env env) override { return Announcements::Start(env, std::move(socket_), reader_); }

 private:
  const std::shared_ptr<Reader> reader_;
  UniqueFd socket_;
};

}  // namespace

Napi::Value NftMonitor(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::string table = input.Text(info[0], "table");
  Napi::Function listener = input.Function(info[1], "listener");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<MonitorJob>(info.Env(), std::make_shared<Reader>(listener, std::move(table))));
}

}  // namespace cleat
