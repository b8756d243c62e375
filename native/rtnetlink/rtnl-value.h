// rtnl-value.h: converts rtnetlink's facts (rtnl-decode.h) to the objects of index.ts: Link, Address, Route, Rule,
// Neighbour, FdbEntry.
// Guarantees: every property is there; one that the kernel did not report is null, 0 or "". Event loop only.
#pragma once

#include <napi.h>

#include "rtnl-decode.h"

namespace cleat {

Napi::Value ToValue(Napi::Env env, const LinkFacts& link);
Napi::Value ToValue(Napi::Env env, const AddressFacts& address);
Napi::Value ToValue(Napi::Env env, const RouteFacts& route);
Napi::Value ToValue(Napi::Env env, const RuleFacts& rule);
Napi::Value ToValue(Napi::Env env, const NeighbourFacts& neighbour);
Napi::Value ToValue(Napi::Env env, const FdbFacts& entry);

}  // namespace cleat
