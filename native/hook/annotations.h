// annotations.h: converts the annotations of a container to members of its create event.
//
//   cleat.network    NETWORK[,NETWORK...] | none | slirp4netns[:KEY=VALUE,...] | pasta[:OPTION,...]
//   cleat.ip, cleat.mac, cleat.interface, cleat.aliases, and each with .NETWORK behind it
//   cleat.ports, cleat.hostname
//
// An uplink is written as after `cleat run --network`. The options of a network have a name of their own, with the
// network at its end, because the value of cleat.network separates networks with commas already: with commas between
// options as well, `web:ip=10.0.0.5,db` could be read in two ways. The name of a network may have dots, so it comes
// last.
//
// Guarantees: pure, without exceptions. An annotation that begins with "cleat." and is not known, or is for a network
// that the container does not get, is an error: if it were skipped, the container would get another network than was
// requested. Limits: only the form of names, addresses and ports is checked; the daemon checks the rest.
#pragma once

#include <string>

#include "../json/json.h"

namespace cleat_hook {

struct NetworkRequest {
  std::string fields;          // more members for the create event, each with a comma before it
  bool names_network = false;  // cleat.network is there
};

// Reads the annotations of a container state. Returns why they cannot be granted; empty if `out` is complete.
std::string ReadAnnotations(const cleat::JsonValue& state, NetworkRequest* out);

}  // namespace cleat_hook
