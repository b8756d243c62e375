// rtnl-value.h: what rtnetlink says (rtnl-decode.h) as the objects of index.ts: Link, Address, Route, Rule, Neighbour.
// Guarantees: every property is there; what the kernel did not say is null, 0 or "". Event loop only.
#pragma once

#include <napi.h>

#include "rtnl-decode.h"

namespace cleat {

Napi::Value ToValue(Napi::Env env, const LinkFacts& link);
Napi::Value ToValue(Napi::Env env, const AddressFacts& address);
Napi::Value ToValue(Napi::Env env, const RouteFacts& route);
Napi::Value ToValue(Napi::Env env, const RuleFacts& rule);
Napi::Value ToValue(Napi::Env env, const NeighbourFacts& neighbour);

}  // namespace cleat
