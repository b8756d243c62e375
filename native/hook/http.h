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

namespace cleat_hook {

constexpr size_t kMaxReply = size_t{4} << 20;

// A point in CLOCK_MONOTONIC: it does not move when the guarded operation is retried, nor when the wall clock is set.
class Deadline {
 public:
  static Deadline InMilliseconds(int64_t ms);
  // Returns the milliseconds left, rounded up, 0 if it has passed; fits poll(2).
  int Left() const;
  // Waits until a poll(2) event on `fd`; false if the deadline comes first.
  bool Await(int fd, short events) const;

 private:
  explicit Deadline(int64_t at) : at_(at) {}
  int64_t at_;
};

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

}  // namespace cleat_hook
