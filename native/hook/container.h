// container.h: converts the annotations of an OCI container to lifecycle events.
//
// Guarantees: pure functions of (data, size), without exceptions, so that they can be fuzzed like ParseJson below them.
// An id that passes is safe in a URL path and in a message. An annotation that begins with "cleat." and is not known is
// an error: if a misspelled one were skipped, the container would get another network than was requested.
// Limits: only the form of addresses, names and port numbers is checked here; the daemon checks the rest.
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

// Returns why `data` is no usable container state; empty if `out` holds one. After the end of the container only the id
// counts: an error in the annotations must not keep anything from being removed.
std::string ReadContainer(Stage stage, const char* data, size_t size, Container* out);

// Returns the events that give a container its network, a line each (application/x-ndjson).
std::string CreateAndConfigure(const Container& container);
std::string Teardown(std::string_view id);

}  // namespace cleat_hook
