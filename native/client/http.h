// http.h: one HTTP/1.1 request over a Unix socket, and its answer.
//
// Guarantees: nothing waits past the deadline, which is absolute. An answer is either complete by its own framing (RFC
// 9112 section 6.3) or an error: a connection that ends too early is never taken for a short answer. ParseReply is a
// pure function of (data, size), without exceptions; its input is bounded by kMaxReply.
// Limits: one request to a connection; transfer codings other than "chunked" are refused, trailers are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "deadline.h"

namespace cleat_client {

constexpr size_t kMaxReply = size_t{4} << 20;

struct Request {
  std::string_view method;
  std::string path;
  std::string_view content_type;  // empty: no body
  bool respond_async = false;     // Prefer: respond-async (RFC 7240)
  std::string body;
};

struct Reply {
  int status = 0;
  std::string body;
};

enum class ReplyParse { kComplete, kIncomplete, kMalformed };

// Reads the final answer (1xx ones are skipped) from the bytes that have arrived. `ended`: no more will arrive.
ReplyParse ParseReply(const char* data, size_t size, bool ended, Reply* out);

// Sends a request. Returns why there is no answer; empty if `out` holds one.
std::string Exchange(const std::string& socket_path, const Request& request, const Deadline& deadline, Reply* out);

}  // namespace cleat_client
