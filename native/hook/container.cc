// container.cc: see container.h.
//
// The state is that of the OCI runtime specification (runtime.md, "State"); hooks get it on stdin (config.md, "POSIX-
// platform Hooks").
#include "container.h"

#include <algorithm>
#include <optional>

#include "../json/json.h"

namespace cleat_hook {

namespace {

using cleat::JsonValue;
using cleat::ParseJson;
using cleat::QuoteJson;

// The same as in state/names.ts.
constexpr size_t kMaxId = 100;
constexpr int64_t kMaxPid = 4'194'304;

bool IsId(std::string_view id) {
  auto alphanumeric = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  if (id.empty() || id.size() > kMaxId || !alphanumeric(id.front())) return false;
  return std::all_of(id.begin(), id.end(), [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

}  // namespace

std::string ReadContainer(Stage stage, const char* data, size_t size, Container* out) {
  std::optional<JsonValue> state = ParseJson(data, size);
  if (!state || state->kind != JsonValue::Kind::kObject) return "stdin is not a container state: no JSON object";
  std::optional<std::string> id = state->FindString("id");
  if (!id) return "stdin is not a container state: it has no \"id\"";
  if (!IsId(*id)) {
    return "the container id must be at most " + std::to_string(kMaxId) +
           " letters, digits, \"_\", \".\" and \"-\", beginning with a letter or digit; it is " +
           QuoteJson(id->size() <= 2 * kMaxId ? *id : "...");
  }
  if (stage == Stage::kPoststop) {
    *out = {*id, 0, "", {}};
    return "";
  }
  std::optional<int64_t> pid = state->FindInteger("pid");
  if (!pid || *pid < 1 || *pid > kMaxPid) return "the container state has no \"pid\" of a running process";
  NetworkRequest network;
  std::string problem = ReadAnnotations(*state, &network);
  if (problem.empty()) *out = {*id, *pid, state->FindString("bundle").value_or(""), std::move(network)};
  return problem;
}

std::string ReadConfig(const char* data, size_t size, bool* joins) {
  std::optional<JsonValue> config = ParseJson(data, size);
  if (!config || config->kind != JsonValue::Kind::kObject) return "is no JSON object";
  const JsonValue* linux_part = config->Find("linux");
  const JsonValue* namespaces = linux_part == nullptr ? nullptr : linux_part->Find("namespaces");
  *joins = namespaces != nullptr &&
           std::any_of(namespaces->items.begin(), namespaces->items.end(), [](const JsonValue& one) {
             return one.FindString("type") == "network" && !one.FindString("path").value_or("").empty();
           });
  return "";
}

std::string CreateAndConfigure(const Container& container, const ExitFd& exit) {
  std::string id = QuoteJson(container.id);
  std::string bound;
  if (exit.pid != 0) {
    bound = ",\"exit_fd\":{\"pid\":" + std::to_string(exit.pid) + ",\"fd\":" + std::to_string(exit.fd) + "}";
  }
  return "{\"type\":\"create\",\"id\":" + id + ",\"netns\":{\"mode\":\"pid\",\"pid\":" + std::to_string(container.pid) +
         "}" + bound + container.network.fields + "}\n{\"type\":\"configure\",\"id\":" + id + "}\n";
}

std::string Teardown(std::string_view id) {
  return "{\"type\":\"teardown\",\"id\":" + QuoteJson(id) + "}";
}

}  // namespace cleat_hook
