// place.h: where the daemon is that serves the caller's network namespace.
//
// Guarantees: the same caller finds the same place, whether its environment is bare or not, as long as its directory is
// where pam_systemd(8) makes it. A directory that others may write to, or that is of another user, is no place. A
// program that has more rights than its caller (AT_SECURE) believes no variable (secure_getenv(3)).
// Limits: where a daemon would be, not whether there is one: that is daemon.h. docs/decisions/0058 says why there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cleat_client {

constexpr const char* kDefaultDirectory = "/run/cleat";
constexpr const char* kDefaultSocket = "/run/cleat/cleat.sock";

// Returns the socket that was chosen, or nullopt. `option` is that of the command line; CLEAT_SOCKET comes after it,
// and counts as unset when it is empty, as for `cleat` (cli/places.ts).
std::optional<std::string> ChosenSocket(const std::optional<std::string>& option);

// Which network namespace it is. Two that exist at the same time differ in it.
struct Netns {
  uint64_t dev = 0;
  uint64_t ino = 0;
};

// Reads which network namespace the caller is in. Returns why it is unknown; empty if `out` holds it.
std::string OwnNetns(Netns* out);

struct Place {
  // The run directory of the daemon that is started here on demand.
  std::string directory;
  // The machine's own daemon, with its usual directories; otherwise everything is below `directory`.
  bool machine = false;
  // Sockets of daemons that somebody else starts, which may serve the same namespace.
  std::vector<std::string> others;

  std::string socket() const { return directory + "/cleat.sock"; }
};

// Finds the place for that namespace. Returns why there is none; empty if `out` holds it. Nothing is made.
std::string FindPlace(const Netns& netns, Place* out);

// Returns the directory above the place's.
std::string BaseOf(const Place& place);

// Makes the place's directory, and the one above it. Returns why it cannot be used; empty if it is there.
std::string MakePlace(const Place& place);

}  // namespace cleat_client
