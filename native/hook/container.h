// container.h: converts the state of an OCI container to lifecycle events.
//
// Guarantees: pure functions of (data, size), without exceptions, so that they can be fuzzed like ParseJson below them.
// An id that passes is safe in a URL path and in a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "annotations.h"

namespace cleat_hook {

enum class Stage { kCreateRuntime, kPoststop };

struct Container {
  std::string id;
  int64_t pid = 0;  // 0: no process any more
  std::string bundle;
  NetworkRequest network;
};

// A descriptor of a process, whose other end ends the container (docs/decisions/0059). pid 0: none.
struct ExitFd {
  int64_t pid = 0;
  int64_t fd = 0;
};

// Returns why `data` is no usable container state; empty if `out` holds one. After the end of the container only the id
// counts: an error in the annotations must not keep anything from being removed.
std::string ReadContainer(Stage stage, const char* data, size_t size, Container* out);

// Returns why `data` is no config.json; empty if it is one. `joins`: the container joins a network namespace that is
// there already, by its path (config-linux.md, "Namespaces").
std::string ReadConfig(const char* data, size_t size, bool* joins);

// Returns the events that give a container its network, a line each (application/x-ndjson).
std::string CreateAndConfigure(const Container& container, const ExitFd& exit);
std::string Teardown(std::string_view id);

}  // namespace cleat_hook
