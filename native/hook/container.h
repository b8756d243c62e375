// container.h: what the annotations of an OCI container ask of cleat, as lifecycle events.
//
// Guarantees: pure functions of (data, size), without exceptions, so that they can be fuzzed like ParseJson below them.
// An id that passes is safe in a URL path and in a message. An annotation that begins with "cleat." and is not known is
// an error: a misspelled one that were skipped would give the container another network than was asked for.
// Limits: addresses, names and port numbers are the daemon's to judge; only their form is taken apart here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cleat_hook {

enum class Stage { kCreateRuntime, kPoststop };

struct Container {
  std::string id;
  int64_t pid = 0;            // 0: no process any more
  std::string create_fields;  // more members for the create event, each with a comma before it
};

// Why `data` is no container state that can be acted on; empty when `out` holds one. After the end only the id counts:
// what was wrong with the annotations must not keep anything from being taken away.
std::string ReadContainer(Stage stage, const char* data, size_t size, Container* out);

// The events that give a container its network, a line each (application/x-ndjson).
std::string CreateAndConfigure(const Container& container);
std::string Teardown(std::string_view id);

}  // namespace cleat_hook
