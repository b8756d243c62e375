// cleat-oci-hook: gives the containers of any OCI runtime (crun, runc, youki, ...) their network from cleat.
//
//   cleat-oci-hook [--socket PATH] [--exit-fd [PID:]FD] createRuntime|poststop < container state
//
// createRuntime posts create (netns of the container's process) and configure, and fails if they fail: the runtime then
// destroys the container (OCI runtime specification, runtime.md, "Lifecycle", step 4). poststop posts teardown. A
// container that joins a network namespace by its path, as the members of a pod do, has the network of that namespace:
// createRuntime does nothing for it, unless an annotation asks for a network.
//
// Guarantees: one deadline for everything it waits for, and a second one for cleaning up after a failure. It tears down
// nothing but the container that it made: ids are unique to a runtime only, and when createRuntime fails because
// another runtime has the id, this runtime still calls poststop (steps 12 and 13). Limits: the daemon must see the same
// process ids, and the user of the hook must be allowed to name them. A poststop that never runs leaves nothing behind:
// the daemon watches the process itself. Environment: CLEAT_SOCKET, CLEAT_EXIT_FD, CLEAT_HOOK_TIMEOUT_MS. Exit: 0 done,
// 1 not done (the reason is on stderr), 2 usage.
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "../client/ask.h"
#include "../client/deadline.h"
#include "../client/http.h"
#include "../client/input.h"
#include "../client/place.h"
#include "../fd.h"
#include "../json/json.h"
#include "../printable.h"
#include "bundle.h"
#include "container.h"

namespace cleat_hook {

namespace {

using cleat::JsonValue;
using cleat::ParseJson;
using cleat_client::Answer;
using cleat_client::Ask;
using cleat_client::Deadline;
using cleat_client::Describe;
using cleat_client::Exchange;
using cleat_client::Reply;
using cleat_client::Request;

constexpr int64_t kTimeoutMs = 10'000;
constexpr int64_t kMaxTimeoutMs = 600'000;
constexpr int64_t kCleanUpMs = 2'000;
constexpr size_t kMaxStateMiB = 1;
// How long a process that was killed may take to die before it counts as one that lives.
constexpr int kDyingMs = 500;
constexpr int kUsage = 2;
constexpr char kUsageText[] =
    "usage: cleat-oci-hook [--socket PATH] [--exit-fd [PID:]FD] createRuntime|poststop < STATE";

struct Invocation {
  Stage stage = Stage::kCreateRuntime;
  std::string socket;
  int64_t timeout_ms = kTimeoutMs;
  ExitFd exit;
};

// Prints a message for people. Text of others in it must not reach their terminal as commands.
int Fail(const std::string& text, int code = EXIT_FAILURE) {
  std::fprintf(stderr, "cleat-oci-hook: %s\n", cleat::Printable(text).c_str());
  return code;
}

std::string Get(const Invocation& invocation, const std::string& path, const Deadline& deadline, Answer* out) {
  return Ask(invocation.socket, {"GET", path, "", false, ""}, deadline, out);
}

std::string PostTeardown(const Invocation& invocation, const std::string& id, const Deadline& deadline, Answer* out) {
  return Ask(invocation.socket, {"POST", "/v1/events", "application/json", true, Teardown(id)}, deadline, out);
}

std::string PathOf(const Container& container) {
  return "/v1/containers/" + container.id;
}

// Posts create and configure. The answer is the first one that is an error, otherwise the last one.
std::string PostCreate(const Invocation& invocation, const Container& container, const Deadline& deadline,
                       Answer* out) {
  Reply reply;
  Request request{"POST", "/v1/events", "application/x-ndjson", false, CreateAndConfigure(container, invocation.exit)};
  if (std::string problem = Exchange(invocation.socket, request, deadline, &reply); !problem.empty()) return problem;
  std::string_view rest = reply.body;
  for (int line = 1; line <= 2; ++line) {
    size_t end = std::min(rest.find('\n'), rest.size());
    std::optional<JsonValue> answer = ParseJson(rest.data(), end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const JsonValue* body = answer ? answer->Find("body") : nullptr;
    if (answer && body == nullptr && answer->Find("error") != nullptr) {
      *out = {reply.status, std::move(*answer)};  // the request as a whole was refused
      return "";
    }
    std::optional<int64_t> status = answer ? answer->FindInteger("status") : std::nullopt;
    if (!status || body == nullptr || reply.status != 200 || answer->FindInteger("line") != line) {
      return "the daemon's answer (status " + std::to_string(reply.status) + ") does not say what became of the events";
    }
    *out = {static_cast<int>(std::clamp<int64_t>(*status, 0, 999)), *body};
    if (!out->ok()) return "";
  }
  return "";
}

// Returns true if the container that has the id is on its way out, so that the id is free in a moment.
bool IsLeaving(const Answer& view) {
  std::string state = view.body.FindString("state").value_or("");
  state = state.substr(0, state.find('.'));
  return state == "abandoning" || state == "tearingDown" || state == "draining" || state == "releasing" ||
         state == "gone";
}

// Returns true if the process still runs after `wait_ms`; a zombie does not (pidfd_open(2): readable once it has
// terminated).
bool IsRunning(int64_t pid, int wait_ms) {
  cleat::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
  if (!fd) return errno != ESRCH;
  pollfd wait{fd.get(), POLLIN, 0};
  return poll(&wait, 1, wait_ms) == 0;
}

// Waits until the id is free. If a container is started again under its id at once, the links of the one before may
// still be going (poststop does not wait for that). Returns false if the id stays taken.
bool AwaitGone(const Invocation& invocation, const Container& container, const Deadline& deadline) {
  Answer view;
  if (!Get(invocation, PathOf(container), deadline, &view).empty()) return false;
  if (view.status == 404) return true;
  if (!view.ok()) return false;
  if (!IsLeaving(view)) {
    // Its process may have been killed just now, and the daemon is about to notice.
    std::optional<int64_t> pid = view.body.FindInteger("bound_to");
    if (!pid || IsRunning(*pid, std::min(kDyingMs, deadline.Left()))) return false;
  }
  std::string wait = PathOf(container) + "?wait=gone&timeout=" + std::to_string(deadline.Left());
  return Get(invocation, wait, deadline, &view).empty() && (view.ok() || view.status == 404);
}

// Removes, after a failure, what was made for this very process. What cannot be reached now goes when the process ends,
// which the daemon watches or finds out at its start.
void CleanUp(const Invocation& invocation, const Container& container) {
  Deadline deadline = Deadline::InMilliseconds(std::min(invocation.timeout_ms, kCleanUpMs));
  Answer answer;
  if (!Get(invocation, PathOf(container), deadline, &answer).empty() || !answer.ok()) return;
  if (answer.body.FindInteger("bound_to") != container.pid) return;
  PostTeardown(invocation, container.id, deadline, &answer);
}

int CreateRuntime(const Invocation& invocation, const Container& container, const Deadline& deadline) {
  if (!container.network.names_network) {
    bool joins = false;
    if (std::string why = JoinsNamespace(container.bundle, &joins); !why.empty())
      return Fail(container.id + ": " + why);
    if (joins && container.network.fields.empty()) return EXIT_SUCCESS;
    if (joins) {
      return Fail(container.id +
                  ": its network namespace is joined by path and has the network of others; annotations " +
                  "of its own need cleat.network, which asks for one more");
    }
  }
  Answer answer;
  std::string problem = PostCreate(invocation, container, deadline, &answer);
  if (problem.empty() && answer.code() == "CONTAINER_EXISTS" && AwaitGone(invocation, container, deadline)) {
    problem = PostCreate(invocation, container, deadline, &answer);
  }
  if (problem.empty() && answer.ok()) return EXIT_SUCCESS;
  CleanUp(invocation, container);
  return Fail(container.id + ": " + (problem.empty() ? Describe(answer) : problem));
}

int Poststop(const Invocation& invocation, const Container& container, const Deadline& deadline) {
  Answer answer;
  std::string problem = Get(invocation, PathOf(container), deadline, &answer);
  if (problem.empty() && answer.ok()) {
    // The state does not say which process it was. But that one is over, so one that runs belongs to another container.
    std::optional<int64_t> pid = answer.body.FindInteger("bound_to");
    if (!pid || IsRunning(*pid, 0)) {
      Fail(container.id + ": left alone, the container of that id in cleat is not of this runtime");
      return EXIT_SUCCESS;
    }
    problem = PostTeardown(invocation, container.id, deadline, &answer);
  }
  if (!problem.empty()) return Fail(container.id + ": " + problem);
  if (answer.ok() || answer.code() == "NO_SUCH_CONTAINER") return EXIT_SUCCESS;
  return Fail(container.id + ": " + Describe(answer));
}

bool ReadNumber(std::string_view text, int64_t least, int64_t* out) {
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && stop == end && *out >= least && *out <= INT32_MAX;
}

// Reads [PID:]FD. Without PID it is a descriptor that this process was started with.
bool ReadExitFd(std::string_view text, ExitFd* out) {
  size_t colon = text.find(':');
  out->pid = getpid();
  if (colon != std::string_view::npos) {
    if (!ReadNumber(text.substr(0, colon), 1, &out->pid)) return false;
    text.remove_prefix(colon + 1);
  }
  return ReadNumber(text, 0, &out->fd);
}

// Returns why the command line or the environment is invalid; empty if `out` is complete.
std::string ReadInvocation(int argc, char** argv, Invocation* out) {
  if (const char* text = std::getenv("CLEAT_HOOK_TIMEOUT_MS"); text != nullptr) {
    const char* end = text + std::strlen(text);
    auto [stop, error] = std::from_chars(text, end, out->timeout_ms);
    if (error != std::errc() || stop != end || out->timeout_ms < 1 || out->timeout_ms > kMaxTimeoutMs) {
      return "CLEAT_HOOK_TIMEOUT_MS is 1 to " + std::to_string(kMaxTimeoutMs) + " milliseconds, not " + text;
    }
  }
  const char* exit_fd = std::getenv("CLEAT_EXIT_FD");
  std::optional<std::string> socket;
  std::optional<std::string_view> stage;
  for (int i = 1; i < argc; ++i) {
    std::string_view argument = argv[i];
    if (argument == "--socket" && i + 1 < argc) {
      socket = argv[++i];
    } else if (argument == "--exit-fd" && i + 1 < argc) {
      exit_fd = argv[++i];
    } else if (!stage && !argument.empty() && argument[0] != '-') {
      stage = argument;
    } else {
      return "unexpected argument " + std::string(argument);
    }
  }
  if (exit_fd != nullptr && *exit_fd != '\0' && !ReadExitFd(exit_fd, &out->exit)) {
    return "an exit descriptor is [PID:]FD, not " + std::string(exit_fd);
  }
  out->socket = cleat_client::ChosenSocket(socket).value_or(cleat_client::kDefaultSocket);
  if (stage == "createRuntime") {
    out->stage = Stage::kCreateRuntime;
  } else if (stage == "poststop") {
    out->stage = Stage::kPoststop;
  } else {
    return stage ? "no such hook: " + std::string(*stage) : "which hook?";
  }
  return "";
}

int Main(int argc, char** argv) {
  Invocation invocation;
  if (std::string problem = ReadInvocation(argc, argv, &invocation); !problem.empty()) {
    return Fail(problem + "; " + kUsageText, kUsage);
  }
  Deadline deadline = Deadline::InMilliseconds(invocation.timeout_ms);
  std::string state;
  if (std::string problem = cleat_client::ReadInput("the container state", kMaxStateMiB, deadline, &state);
      !problem.empty())
    return Fail(problem);
  Container container;
  std::string problem = ReadContainer(invocation.stage, state.data(), state.size(), &container);
  if (!problem.empty()) return Fail(problem);
  return invocation.stage == Stage::kCreateRuntime ? CreateRuntime(invocation, container, deadline)
                                                   : Poststop(invocation, container, deadline);
}

}  // namespace

}  // namespace cleat_hook

int main(int argc, char** argv) {
  return cleat_hook::Main(argc, argv);
}
