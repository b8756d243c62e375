// nft-monitor.cc: Outside.nftMonitor: reports what other processes do to a table of ours (NFNLGRP_NFTABLES).
//
// Guarantees: one event for each transaction of another process that did anything to the table: to itself, a chain, a
// rule, a set, an element. No event for the transactions of this process, through whichever Outside. And the guarantees
// of announcements.h.
// The netlink port, which is on every message of a transaction, identifies its process. NFTA_GEN_PROC_PID does not: it
// is the id of a thread, in the initial pid namespace, which need not be ours.
//
// How: nft-transaction.h. A filter on the port drops the announcements of this outside's own transactions in the
// kernel, so the event loop does not wake for them. That costs no more than not listening (71 us for one element, 1.9
// ms for 500), where reading costs 18 us a transaction.
// Limits: as soon as anybody listens, in whatever namespace, the kernel makes a message for each element of a
// transaction and keeps them all until its end: 100 MB for 20,000 elements.
#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstddef>
#include <utility>

#include "../netlink/announcements.h"
#include "../node/input.h"
#include "nft-transaction.h"
#include "nft.h"

namespace cleat {

namespace {

Subscription SubscriptionBut(uint32_t port) {
  Subscription to{NETLINK_NETFILTER, "NETLINK_NETFILTER"};
  to.groups = 1 << (NFNLGRP_NFTABLES - 1);
  to.filter = {
      // nlmsg_pid is in host byte order, but BPF loads it as a big-endian word. All messages of a datagram have the
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
  Reader(Napi::Function listener, std::string table) : Announcements(listener), transactions_(std::move(table)) {}

  Identity netns;  // the namespace of the socket; known before the first message

 private:
  Napi::Value Take(Napi::Env env, const nlmsghdr* message, std::optional<int>) override {
    const std::optional<Transaction> transaction = transactions_.Take(message);
    if (!transaction || Nfnl::IsOurs(netns, transaction->port)) return {};
    Napi::Object event = Event(env, "changed");
    event.Set("pid", transaction->pid ? Napi::Value(Napi::Number::New(env, *transaction->pid)) : env.Null());
    event.Set("command",
              transaction->command ? Napi::Value(Napi::String::New(env, *transaction->command)) : env.Null());
    return event;
  }

  void Forget() override { transactions_.Forget(); }

  TransactionReader transactions_;
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
