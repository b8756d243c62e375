// rights.h: what the forwarder keeps of root, once it listens for the daemon and before it has lanes.
#pragma once

#include <optional>
#include <string_view>

#include "../confine.h"

namespace cleat_forwarder {

// "UID:GID"; nothing for what is not that, or root.
std::optional<cleat::UserIds> ReadUser(std::string_view text);

// Before there are threads; see confine.h. What is opened by then stays open. Without a user it stays who it is.
cleat::Failure DropRights(const std::optional<cleat::UserIds>& user);

}  // namespace cleat_forwarder
