// rights.cc: see rights.h.
#include "rights.h"

#include <sched.h>

#include <charconv>
#include <cstdint>

#include "system-calls.h"

namespace cleat_forwarder {

namespace {

// Two for a connection, for half a million connections.
constexpr rlim_t kDescriptors = 1 << 20;

// Capabilities in our user namespace count in all namespaces below it, whichever of them owns the container's network.
constexpr cleat::Capabilities kCapabilities =
    // setns(2) into the network of a container, and back.
    cleat::CapabilityBit(CAP_SYS_ADMIN) |
    // IP_TRANSPARENT, SO_MARK, rules, routes and sysctls in there, for clients to keep their addresses (keep.h).
    cleat::CapabilityBit(CAP_NET_ADMIN) |
    // Host ports below 1024.
    cleat::CapabilityBit(CAP_NET_BIND_SERVICE) |
    // The namespace is opened by its path for each connection (place.h), and may lie in another user's directory...
    cleat::CapabilityBit(CAP_DAC_READ_SEARCH) |
    // ...or be /proc/PID/ns/net of another user's process (ptrace(2), PTRACE_MODE_READ).
    cleat::CapabilityBit(CAP_SYS_PTRACE);

bool ReadId(std::string_view text, uint32_t* id) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *id);
  return error == std::errc() && end == text.data() + text.size() && *id != 0 && *id != UINT32_MAX;
}

}  // namespace

std::optional<cleat::UserIds> ReadUser(std::string_view text) {
  size_t colon = text.find(':');
  cleat::UserIds user{};
  if (colon == std::string_view::npos) return std::nullopt;
  if (!ReadId(text.substr(0, colon), &user.uid) || !ReadId(text.substr(colon + 1), &user.gid)) return std::nullopt;
  return user;
}

cleat::Failure DropRights(const std::optional<cleat::UserIds>& user) {
  std::vector<cleat::SystemCall> calls(std::begin(kSystemCalls), std::end(kSystemCalls));
  // Only another network namespace, no user or mount namespace.
  calls.push_back({SYS_setns, 1, UINT32_MAX, CLONE_NEWNET});
  // Only a thread, no process.
  calls.push_back({SYS_clone, 0, CLONE_THREAD, CLONE_THREAD});
  return cleat::Confine({user, kCapabilities, kDescriptors, calls});
}

}  // namespace cleat_forwarder
