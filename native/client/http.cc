// http.cc: see http.h. Section numbers are those of RFC 9112.
//
// Rejected: libcurl speaks HTTP over a Unix socket, but loads TLS and what that needs at each start of a hook, which
// has 2 ms for everything. llhttp and picohttpparser only parse: the socket, the deadline and the rule that half an
// answer is none would still be here. cpp-httplib has a timeout per call of the kernel, not one deadline for all, and
// throws.
#include "http.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "../fd.h"

namespace cleat_client {

namespace {

using cleat::UniqueFd;

constexpr std::string_view kLineEnd = "\r\n";
constexpr const char* kStartIt = "; start it (cleat daemon), or enable cleat.socket";

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [lower](char x, char y) { return lower(x) == lower(y); });
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Reads the whole of `text` as a number that is no more than kMaxReply.
std::optional<size_t> Size(std::string_view text, int base) {
  size_t number;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size() || number > kMaxReply) return std::nullopt;
  return number;
}

// Takes the line at the start of `rest`, without its end; nullopt when its end is not there yet.
std::optional<std::string_view> TakeLine(std::string_view* rest) {
  size_t end = rest->find(kLineEnd);
  if (end == std::string_view::npos) return std::nullopt;
  std::string_view line = rest->substr(0, end);
  rest->remove_prefix(end + kLineEnd.size());
  return line;
}

struct Head {
  int status = 0;
  bool chunked = false;
  std::optional<size_t> length;
};

ReplyParse ParseStatusLine(std::string_view line, Head* head) {
  // "HTTP/1.1 200 OK" (section 4); the reason phrase may be absent.
  if (line.size() < 12 || line.substr(0, 7) != "HTTP/1." || line[8] != ' ') return ReplyParse::kMalformed;
  if (line.size() > 12 && line[12] != ' ') return ReplyParse::kMalformed;
  std::optional<size_t> status = Size(line.substr(9, 3), 10);
  if (!status || *status < 100 || *status > 599) return ReplyParse::kMalformed;
  head->status = static_cast<int>(*status);
  return ReplyParse::kComplete;
}

ReplyParse ParseHead(std::string_view* rest, Head* head) {
  std::optional<std::string_view> line = TakeLine(rest);
  if (!line) return ReplyParse::kIncomplete;
  if (ReplyParse result = ParseStatusLine(*line, head); result != ReplyParse::kComplete) return result;
  while ((line = TakeLine(rest))) {
    if (line->empty()) {
      // Both at once would let one side see another message than the other (section 6.1).
      return head->chunked && head->length ? ReplyParse::kMalformed : ReplyParse::kComplete;
    }
    size_t colon = line->find(':');
    if (colon == std::string_view::npos) return ReplyParse::kMalformed;
    std::string_view name = line->substr(0, colon);
    std::string_view value = Trim(line->substr(colon + 1));
    if (EqualsIgnoringCase(name, "transfer-encoding")) {
      if (head->chunked || !EqualsIgnoringCase(value, "chunked")) return ReplyParse::kMalformed;
      head->chunked = true;
    } else if (EqualsIgnoringCase(name, "content-length")) {
      std::optional<size_t> length = Size(value, 10);
      if (!length || (head->length && head->length != length)) return ReplyParse::kMalformed;
      head->length = length;
    }
  }
  return ReplyParse::kIncomplete;
}

// Reads a chunked body (section 7.1).
ReplyParse ParseChunks(std::string_view rest, std::string* body) {
  while (true) {
    std::optional<std::string_view> line = TakeLine(&rest);
    if (!line) return ReplyParse::kIncomplete;
    // A chunk extension is ignored, as section 7.1.1 requires.
    std::optional<size_t> size = Size(Trim(line->substr(0, line->find(';'))), 16);
    if (!size || body->size() + *size > kMaxReply) return ReplyParse::kMalformed;
    if (*size == 0) break;
    if (rest.size() < *size + kLineEnd.size()) return ReplyParse::kIncomplete;
    body->append(rest.substr(0, *size));
    rest.remove_prefix(*size);
    if (rest.substr(0, kLineEnd.size()) != kLineEnd) return ReplyParse::kMalformed;
    rest.remove_prefix(kLineEnd.size());
  }
  // Trailer fields, to the empty line.
  while (std::optional<std::string_view> line = TakeLine(&rest)) {
    if (line->empty()) return ReplyParse::kComplete;
  }
  return ReplyParse::kIncomplete;
}

std::string Text(const Request& request, bool last) {
  std::string text(request.method);
  text += " " + request.path + " HTTP/1.1\r\nHost: cleat\r\n";
  if (last) text += "Connection: close\r\n";
  if (request.respond_async) text += "Prefer: respond-async\r\n";
  if (!request.content_type.empty()) {
    text += "Content-Type: " + std::string(request.content_type) + "\r\n";
    text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  }
  return text + "\r\n" + request.body;
}

}  // namespace

ReplyParse ParseReply(const char* data, size_t size, bool ended, Reply* out) {
  std::string_view rest(data, size);
  Head head;
  ReplyParse result;
  do {
    head = {};
    result = ParseHead(&rest, &head);
    // 101 would switch protocols; the others announce the final answer (RFC 9110 section 15.2).
    if (result == ReplyParse::kComplete && head.status == 101) return ReplyParse::kMalformed;
  } while (result == ReplyParse::kComplete && head.status < 200);

  Reply reply{head.status, ""};
  // The order is that of section 6.3.
  if (result == ReplyParse::kComplete && head.status != 204 && head.status != 304) {
    if (head.chunked) {
      result = ParseChunks(rest, &reply.body);
    } else if (head.length) {
      reply.body = rest.substr(0, *head.length);
      if (rest.size() < *head.length) result = ReplyParse::kIncomplete;
    } else {
      reply.body = rest;
      if (!ended) result = ReplyParse::kIncomplete;
    }
  }
  if (result == ReplyParse::kIncomplete && (ended || size >= kMaxReply)) result = ReplyParse::kMalformed;
  if (result == ReplyParse::kComplete) *out = std::move(reply);
  return result;
}

std::string Connection::Failed(const char* what) {
  error_ = errno;
  return std::string(what) + " " + path_ + ": " + std::strerror(error_);
}

std::string Connection::Open(const std::string& socket_path, const Deadline& deadline, Connection* out) {
  out->fd_.Reset();
  out->path_ = socket_path;
  out->error_ = 0;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.empty() || socket_path.size() >= sizeof address.sun_path) {
    return "the socket path must have 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes: " + socket_path;
  }
  socket_path.copy(address.sun_path, socket_path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return out->Failed("socket for");
  // EAGAIN is a full backlog here (unix(7)); there is nothing to poll for.
  while (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    if (errno == ENOENT || errno == ECONNREFUSED) return out->Failed("no daemon at") + kStartIt;
    if (errno != EAGAIN) return out->Failed("cannot reach the daemon at");
    if (deadline.Left() == 0) return "the daemon at " + socket_path + " did not take the connection in time";
    poll(nullptr, 0, std::min(deadline.Left(), 2));
  }
  out->fd_ = std::move(fd);
  return "";
}

std::string Connection::Exchange(const Request& request, const Deadline& deadline, Reply* out) {
  const std::string late = "the daemon at " + path_ + " did not answer in time";
  error_ = 0;

  std::string text = Text(request, last_);
  for (size_t sent = 0; sent < text.size();) {
    ssize_t n = send(fd_.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n >= 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      if (!deadline.Await(fd_.get(), POLLOUT)) return late;
    } else if (errno == EPIPE) {
      break;  // refused before it was read: the answer says why
    } else if (errno != EINTR) {
      return Failed("send to");
    }
  }

  std::string received;
  char buffer[16384];
  while (true) {
    if (deadline.Left() == 0) return late;  // also for an answer that arrives drop by drop
    ssize_t n = recv(fd_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!deadline.Await(fd_.get(), POLLIN)) return late;
      continue;
    }
    // A server that did not read everything closes with ECONNRESET after a complete answer.
    if (n < 0 && errno != ECONNRESET) return Failed("receive from");
    if (n > 0) received.append(buffer, static_cast<size_t>(n));
    switch (ParseReply(received.data(), received.size(), n <= 0, out)) {
      case ReplyParse::kComplete:
        return "";
      case ReplyParse::kMalformed:
        if (!received.empty()) return "the daemon at " + path_ + " gave an answer that is cut short or no HTTP";
        error_ = ECONNRESET;
        return "the daemon at " + path_ + " ended the connection without an answer";
      case ReplyParse::kIncomplete:
        break;
    }
  }
}

std::string Exchange(const std::string& socket_path, const Request& request, const Deadline& deadline, Reply* out) {
  Connection connection;
  connection.last_ = true;
  std::string problem = Connection::Open(socket_path, deadline, &connection);
  return problem.empty() ? connection.Exchange(request, deadline, out) : problem;
}

}  // namespace cleat_client
