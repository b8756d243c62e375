// nft.h: the outside's firewall methods: nf_tables transactions, dumps and announcements, and conntrack.
//
// Guarantees: each function parses its arguments on the event loop and returns a promise (a Job on the worker). Invalid
// arguments reject it with EINVAL, they never throw.
#pragma once

#include <napi.h>

#include "../node/worker.h"
#include "../rtnetlink/rtnl-socket.h"

namespace cleat {

// Outside.nft(operations): one transaction, all or nothing (nft.cc).
Napi::Value NftCommit(const Napi::CallbackInfo& info, Worker& worker);
// Outside.nftTable(family, name) and Outside.nftElements(family, table, set) (nft-dump.cc).
Napi::Value NftTable(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value NftElements(const Napi::CallbackInfo& info, Worker& worker);
// Outside.nftForwardDrops(names) (nft-forward.cc).
Napi::Value NftForwardDrops(const Napi::CallbackInfo& info, Worker& worker);
// Outside.nftMonitor(table, listener) (nft-monitor.cc).
Napi::Value NftMonitor(const Napi::CallbackInfo& info, Worker& worker);
// Outside.conntrackForget(rules) (conntrack.cc).
Napi::Value ConntrackForget(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& rtnl);
// Outside.conntrackUse() and Outside.conntrackLimit(limit, owners) (conntrack-limit.cc).
Napi::Value ConntrackUse(const Napi::CallbackInfo& info, Worker& worker);
Napi::Value ConntrackLimit(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
