// cleat-cni: cleat as a CNI plugin. Runtimes find it by the "type" of a configuration, so it is installed as "cleat".
//
//   CNI_COMMAND=ADD|DEL|CHECK|GC|STATUS|VERSION CNI_...=... cleat < network configuration
//
// It checks what can be checked without knowledge of cleat, posts the rest as it is to the daemon of its network
// namespace, which it starts if there is none (client/daemon.h), and prints the answer. VERSION needs no daemon.
//
// Guarantees: stdout has the result or the error of the protocol, or nothing. One deadline for everything it waits for.
// Nothing is left behind that could keep the runtime's descriptors open.
// Limits: a daemon that cannot be reached is the error "try again later" (11), also for DEL: the daemon alone knows
// what the container has, so "done" would be a lie that leaks it. To STATUS the answer is then "not available" (50) and
// not 51, because containers keep their network without a daemon. Environment: CLEAT_SOCKET. Exit: 0 done, 1 an error.
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "../client/ask.h"
#include "../client/daemon.h"
#include "../client/deadline.h"
#include "../client/http.h"
#include "../client/input.h"
#include "../json/json.h"
#include "call.h"

namespace cleat_cni {

namespace {

using cleat::JsonValue;
using cleat_client::Deadline;
using cleat_client::Reply;

// Runtimes wait minutes. The daemon answers a DEL within ten seconds, whatever the kernel does.
constexpr int64_t kTimeoutMs = 60'000;
// VERSION needs nothing of stdin but the version to answer in, and a caller may have left it open.
constexpr int64_t kVersionMs = 200;
// As the daemon's limit for a request.
constexpr size_t kMaxMiB = 1;

std::optional<std::string_view> Variable(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

// Writes a line to stdout. Returns the exit code: `code`, or that of an error if it cannot be written.
int Print(std::string_view text, int code) {
  std::string line(text);
  line += '\n';
  for (std::string_view rest = line; !rest.empty();) {
    ssize_t n = write(STDOUT_FILENO, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return EXIT_FAILURE;
    rest.remove_prefix(static_cast<size_t>(n));
  }
  return code;
}

int Fail(const Error& error, std::string_view version) {
  return Print(Text(error, version), EXIT_FAILURE);
}

// Returns what the daemon says in its own form: it could not understand the request as one of CNI.
Error FromDaemon(Command command, const cleat_client::Answer& answer) {
  const std::string text = cleat_client::Describe(answer);
  if (answer.status == 413) return {kBadConfiguration, "the network configuration is too large", text};
  if (answer.status == 408 || answer.status == 429) return {kTryAgainLater, "the daemon of cleat is busy", text};
  return {command == Command::kStatus ? kNotAvailable : kInternal, "the daemon of cleat refuses the request", text};
}

int Pass(Command command, const std::string& body, std::string_view version, const Deadline& deadline) {
  cleat_client::Daemon daemon;
  Reply reply;
  std::string problem = cleat_client::FindDaemon({}, deadline, &daemon);
  if (problem.empty()) {
    problem = daemon.connection.Exchange({"POST", PathOf(command), "application/json", false, body}, deadline, &reply);
  }
  if (!problem.empty()) {
    const int code = command == Command::kStatus ? kNotAvailable : kTryAgainLater;
    return Fail({code, "the daemon of cleat cannot be reached", problem}, version);
  }
  const bool done = reply.status >= 200 && reply.status < 300;
  if (done && reply.body.empty()) return EXIT_SUCCESS;
  std::optional<JsonValue> answer = cleat::ParseJson(reply.body.data(), reply.body.size());
  if (!answer) {
    const std::string status = "status " + std::to_string(reply.status);
    return Fail({kInternal, "the answer of the daemon of cleat is no JSON", status}, version);
  }
  if (done) return Print(reply.body, EXIT_SUCCESS);
  if (answer->FindInteger("code")) return Print(reply.body, EXIT_FAILURE);
  return Fail(FromDaemon(command, {reply.status, std::move(*answer)}), version);
}

int Main() {
  std::signal(SIGPIPE, SIG_IGN);  // a runtime that is gone is an error of write(2)
  Command command = Command::kVersion;
  if (Error error = ReadCommand(Variable, &command)) return Fail(error, kNewestVersion);

  const bool asks_version = command == Command::kVersion;
  Deadline deadline = Deadline::InMilliseconds(asks_version ? kVersionMs : kTimeoutMs);
  std::string configuration;
  std::string problem = cleat_client::ReadInput("the network configuration", kMaxMiB, deadline, &configuration);
  const std::string version = SpokenVersion(configuration.data(), configuration.size());
  if (asks_version) return Print(Versions(version), EXIT_SUCCESS);
  if (!problem.empty()) return Fail({kIoFailure, problem, ""}, version);

  std::string body;
  if (Error error = ReadConfiguration(command, Variable, configuration, &body)) return Fail(error, version);
  return Pass(command, body, version, deadline);
}

}  // namespace

}  // namespace cleat_cni

int main() {
  return cleat_cni::Main();
}
