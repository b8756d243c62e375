// neighbour-use.h: how full the neighbour tables of the machine are, as the Outside's method neighbourUse (index.ts).
//
// Limits: the tables are those of all namespaces; the kernel does not count them for each.
#pragma once

#include <napi.h>

#include "../node/worker.h"

namespace cleat {

Napi::Value NeighbourUse(const Napi::CallbackInfo& info, Worker& worker);

}  // namespace cleat
