// rtnl.h: rtnetlink as the Outside's methods rtnl, links, link, addresses, routes, rules, neighbours, fdb, routesOf,
// wayTo, netnsId and monitor.
//
// Guarantees: each returns a promise; work on the outside itself goes through one socket that stays open, work inside a
// namespace through one opened there and closed again. Every argument is checked before anything is sent.
// Limits: as index.ts says. A multipath route shows no gateway and no link.
#pragma once

#include <napi.h>

#include <functional>
#include <optional>
#include <string>

#include "../node/worker.h"
#include "rtnl-socket.h"

namespace cleat {

// Calls `use` with the socket for one job: the outside's own, or one opened in the namespace at path.
Failure WithRtnl(Worker& worker, RtnlSocket& own, const std::optional<std::string>& netns,
                 const std::function<Failure(RtnlSocket&)>& use);

Napi::Value RtnlChange(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlLinks(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlLink(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlAddresses(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlRoutes(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlRules(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
// The switches of links have the names that they have under /proc/sys (link-switches.cc).
Napi::Value LinkSwitches(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlNeighbours(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlFdb(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlRoutesOf(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlWayTo(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlNetnsId(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own);
Napi::Value RtnlMonitor(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
