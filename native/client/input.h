// input.h: what an executable gets on stdin, or in a file.
//
// Guarantees: nothing waits past the deadline, and no more than the limit is kept.
// Limits: a descriptor that is always ready (a file) is read without waiting.
#pragma once

#include <cstddef>
#include <string>

#include "deadline.h"

namespace cleat_client {

// Reads all that comes from `fd`, up to that many MiB; who writes it closes it. `what` names it in messages. Returns
// why it cannot be used; empty if `out` holds it.
std::string ReadAll(int fd, const std::string& what, size_t mebibytes, const Deadline& deadline, std::string* out);

// The same of stdin.
std::string ReadInput(const std::string& what, size_t mebibytes, const Deadline& deadline, std::string* out);

}  // namespace cleat_client
