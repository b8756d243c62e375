// bundle.h: finds out from a container's bundle if it joins a network namespace that is there already.
//
// The state that a hook gets does not say where the namespace comes from, and the members of a pod all look as if they
// had one of their own. The runtime has made the namespaces from config.json in the bundle (runtime.md, "Lifecycle",
// step 3), so that is what counts.
//
// Guarantees: never waits for anything (a fifo, a device); reads kMaxConfig bytes at most.
// Limits: without config.json in the bundle, which a runtime may have read from elsewhere (crun --config), the
// namespace is taken for the container's own.
#pragma once

#include <string>

namespace cleat_hook {

// Returns why it cannot be found out; empty if `joins` says it. An empty `bundle` is one that is not known.
std::string JoinsNamespace(const std::string& bundle, bool* joins);

}  // namespace cleat_hook
