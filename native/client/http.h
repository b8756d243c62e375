// http.h: HTTP/1.1 requests over a Unix socket, and their answers.
//
// Guarantees: nothing waits past the deadline, which is absolute. An answer is either complete by its own framing (RFC
// 9112 section 6.3) or an error: a connection that ends too early is never taken for a short answer. ParseReply is a
// pure function of (data, size), without exceptions; its input is bounded by kMaxReply.
// Limits: one request at a time; transfer codings other than "chunked" are refused, trailers are dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "../fd.h"
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

// A connection to the daemon, for requests one after another. The daemon counts as in use while it is open.
class Connection {
 public:
  Connection() = default;

  // Returns why there is none; empty if `out` is connected.
  static std::string Open(const std::string& socket_path, const Deadline& deadline, Connection* out);
  // Sends a request. Returns why there is no answer; empty if `out` holds one.
  std::string Exchange(const Request& request, const Deadline& deadline, Reply* out);

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  // The errno of the last failure; ECONNRESET if the other side ended the connection without an answer, 0 for the rest.
  int error() const { return error_; }

 private:
  cleat::UniqueFd fd_;
  std::string path_;
  int error_ = 0;
  bool last_ = false;

  std::string Failed(const char* what);

  friend std::string Exchange(const std::string& socket_path, const Request& request, const Deadline& deadline,
                              Reply* out);
};

// Sends a request over a connection of its own.
std::string Exchange(const std::string& socket_path, const Request& request, const Deadline& deadline, Reply* out);

}  // namespace cleat_client
