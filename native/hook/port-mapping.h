// port-mapping.h: converts one published port of an annotation to the port mapping of a create event.
//
// Guarantees: a pure function. What it returns is a JSON object with ports in range, and ranges of one length.
// Limits: the daemon checks if the host's address is one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cleat_hook {

// Reads [[HOST_IP:][HOST_PORTS]:]CONTAINER_PORTS[/PROTOCOL]; nullopt if `text` is not that.
std::optional<std::string> PortMapping(std::string_view text);

}  // namespace cleat_hook
