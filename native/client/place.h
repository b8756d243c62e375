// place.h: where the daemon's socket is, by the settings that every native executable shares.
//
// Guarantees: an option wins over CLEAT_SOCKET, and that over the default; an empty variable counts as unset, as for
// `cleat` (cli/places.ts). Limits: who wants the daemon of its own network namespace asks daemon.h.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace cleat_client {

constexpr const char* kDefaultSocket = "/run/cleat/cleat.sock";

// Returns the socket that was chosen, or nullopt. `option` is that of the command line.
inline std::optional<std::string> ChosenSocket(const std::optional<std::string>& option) {
  if (option) return option;
  const char* variable = std::getenv("CLEAT_SOCKET");
  if (variable != nullptr && *variable != '\0') return variable;
  return std::nullopt;
}

}  // namespace cleat_client
