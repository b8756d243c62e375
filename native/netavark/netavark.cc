// netavark.cc: cleat-netavark. Podman runs it in the place of netavark; it passes the request on to the daemon.
//
// Guarantees: the JSON is passed on as it is, and the daemon's answer is printed as it is. On stdout there is either
// that or {"error": "..."}, in one line, with exit code 1; nothing is on stderr unless it is called wrongly (exit code
// 2). No process is left behind, and nothing waits past the deadline. A teardown goes on when it is told to end:
// systemd does that to all of a container's processes at once. Limits: a request is at most 1 MiB, as for the daemon
// (4,096 ports are 400 KB). When this process is killed, the daemon finishes what it has been asked.
#include <fcntl.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "../client/daemon.h"
#include "../client/deadline.h"
#include "../client/http.h"
#include "../client/input.h"
#include "../client/version.h"
#include "../fd.h"
#include "../json/json.h"
#include "../printable.h"
#include "arguments.h"

namespace cleat_netavark {

namespace {

using cleat_client::Deadline;
using cleat_client::Reply;
using cleat_client::Request;

// Podman waits without end. The daemon's own deadlines are below this one.
constexpr int64_t kTimeoutMs = 120'000;
constexpr size_t kMaxRequestMiB = 1;

int Fail(const std::string& text) {
  std::printf("{\"error\":%s}\n", cleat::QuoteJson(cleat::Printable(text)).c_str());
  return EXIT_FAILURE;
}

// Percent-encodes what is not unreserved (RFC 3986, 2.3).
std::string Encoded(std::string_view text) {
  static constexpr std::string_view kUnreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if (kUnreserved.find(c) != std::string_view::npos) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return encoded;
}

// Opens a file. /dev/fd/N is the descriptor itself, also where it is a socket, which nobody can open.
int Open(const std::string& path) {
  static constexpr std::string_view kDescriptors = "/dev/fd/";
  int fd = -1;
  const char* end = path.data() + path.size();
  if (path.rfind(kDescriptors, 0) == 0 && std::from_chars(path.data() + kDescriptors.size(), end, fd).ptr == end &&
      fd >= 0) {
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
  }
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
}

// Reads the request of Podman. Returns why it cannot be used; empty if `out` holds it.
std::string ReadRequest(const Invocation& invocation, const Deadline& deadline, std::string* out) {
  const std::string what = "the request";
  if (!invocation.file) return cleat_client::ReadInput(what, kMaxRequestMiB, deadline, out);
  const cleat::UniqueFd fd(Open(*invocation.file));
  if (!fd) return "failed to load network options: " + *invocation.file + ": " + std::strerror(errno);
  return cleat_client::ReadAll(fd.get(), what + " in " + *invocation.file, kMaxRequestMiB, deadline, out);
}

std::string ServersAsJson(const Invocation& invocation) {
  std::string list;
  for (const std::string& server : invocation.dns_servers) {
    list += (list.empty() ? "" : ",") + cleat::QuoteJson(cleat::Printable(server));
  }
  return "{\"network_dns_servers\":[" + list + "]}";
}

// Makes what the daemon is asked. Returns why it cannot be; empty if `out` is complete.
std::string ToRequest(const Invocation& invocation, const Deadline& deadline, Request* out) {
  *out = {"POST", "/v1/netavark/", "application/json", false, ""};
  switch (invocation.verb) {
    case Verb::kSetup:
      out->path += "setup?netns=" + Encoded(invocation.object);
      break;
    case Verb::kTeardown:
      out->path += "teardown?netns=" + Encoded(invocation.object);
      break;
    case Verb::kUpdate:
      out->path += "update?network=" + Encoded(invocation.object);
      out->body = ServersAsJson(invocation);
      return "";
    case Verb::kCreate:
      out->path += "create";
      break;
    case Verb::kVersion:
      break;
  }
  return ReadRequest(invocation, deadline, &out->body);
}

int PrintVersion() {
  std::printf("{\n  \"version\": \"%s\",\n  \"commit\": \"\",\n  \"build_time\": \"\",\n  \"target\": \"cleat\"\n}\n",
              cleat_client::kVersion);
  return EXIT_SUCCESS;
}

// The daemon's rules are its own, so that no other program can be asked to make them.
bool IsServed(const std::string& firewall_driver) {
  return firewall_driver.empty() || firewall_driver == "nftables" || firewall_driver == "iptables" ||
         firewall_driver == "firewalld";
}

// Returns the error in an answer, without the hint: it is for users of cleat's own commands.
std::string Reason(const Reply& reply) {
  const std::optional<cleat::JsonValue> body = cleat::ParseJson(reply.body.data(), reply.body.size());
  const cleat::JsonValue* error = body ? body->Find("error") : nullptr;
  const std::optional<std::string> message = error == nullptr ? std::nullopt : error->FindString("message");
  if (!message) return "the daemon answered with status " + std::to_string(reply.status) + " and no reason";
  return *message + " (" + error->FindString("code").value_or("") + ")";
}

int Carry(const Invocation& invocation) {
  if (invocation.verb == Verb::kVersion) return PrintVersion();
  if (!IsServed(invocation.firewall_driver))
    return Fail("firewall driver " + invocation.firewall_driver + " is not supported");
  if (invocation.verb == Verb::kTeardown) {
    std::signal(SIGTERM, SIG_IGN);
    std::signal(SIGINT, SIG_IGN);
  }
  const Deadline deadline = Deadline::InMilliseconds(kTimeoutMs);
  Request request;
  if (std::string problem = ToRequest(invocation, deadline, &request); !problem.empty()) return Fail(problem);
  cleat_client::Daemon daemon;
  if (std::string problem = cleat_client::FindDaemon({}, deadline, &daemon); !problem.empty()) return Fail(problem);
  Reply reply;
  if (std::string problem = daemon.connection.Exchange(request, deadline, &reply); !problem.empty()) {
    return Fail(problem);
  }
  if (reply.status >= 200 && reply.status < 300) {
    if (!reply.body.empty()) std::printf("%s\n", reply.body.c_str());
    return EXIT_SUCCESS;
  }
  return Fail(Reason(reply));
}

int Main(int argc, char** argv) {
  Invocation invocation;
  if (const std::optional<Text> text = ReadArguments(argc, argv, &invocation)) {
    std::fputs(text->text.c_str(), text->to_stderr ? stderr : stdout);
    return text->exit_code;
  }
  const int code = Carry(invocation);
  // What was done is not known to Podman if it cannot be written.
  return std::fflush(stdout) == 0 ? code : EXIT_FAILURE;
}

}  // namespace

}  // namespace cleat_netavark

int main(int argc, char** argv) {
  return cleat_netavark::Main(argc, argv);
}
