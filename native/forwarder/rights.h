// rights.h: drops the rights that the forwarder does not need, once it listens for the daemon and before it has lanes.
#pragma once

#include <optional>
#include <string_view>

#include "../processes/confine.h"

namespace cleat_forwarder {

// Parses "UID:GID"; nothing for other text, or for root.
std::optional<cleat::UserIds> ReadUser(std::string_view text);

// Call it before there are threads; see confine.h. Descriptors that are open by then stay open. Without a user the
// process keeps its own.
cleat::Failure DropRights(const std::optional<cleat::UserIds>& user);

}  // namespace cleat_forwarder
