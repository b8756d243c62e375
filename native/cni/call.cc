// call.cc: see call.h.
#include "call.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "../json/json.h"

namespace cleat_cni {

namespace {

using cleat::JsonValue;
using cleat::QuoteJson;

// Ascending.
constexpr std::array<std::string_view, 5> kVersions = {"0.3.0", "0.3.1", "0.4.0", "1.0.0", kNewestVersion};

// What a configuration without cniVersion is written in (SPEC.md 0.2.0 introduced it).
constexpr std::string_view kFirstVersion = "0.1.0";

struct Rule {
  std::string_view word;
  Command command;
  std::string_view path;
  std::string_view since;  // the version that introduced it
  bool attachment;         // it is about one: needs CNI_CONTAINERID and CNI_IFNAME
  bool netns;              // needs CNI_NETNS
};

constexpr std::array<Rule, 6> kRules = {{
    {"ADD", Command::kAdd, "/v1/cni/add", "0.3.0", true, true},
    {"DEL", Command::kDelete, "/v1/cni/del", "0.3.0", true, false},
    {"CHECK", Command::kCheck, "/v1/cni/check", "0.4.0", true, true},
    {"GC", Command::kCollect, "/v1/cni/gc", "1.1.0", false, false},
    {"STATUS", Command::kStatus, "/v1/cni/status", "1.1.0", false, false},
    {"VERSION", Command::kVersion, "", "0.3.0", false, false},
}};

constexpr std::array<const char*, 4> kPassedOn = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"};

const Rule& RuleOf(Command command) {
  return *std::find_if(kRules.begin(), kRules.end(), [&](const Rule& rule) { return rule.command == command; });
}

auto Position(std::string_view version) {
  return std::distance(kVersions.begin(), std::find(kVersions.begin(), kVersions.end(), version));
}

bool IsSpoken(std::string_view version) {
  return Position(version) < static_cast<ptrdiff_t>(kVersions.size());
}

// Returns all versions as a list, each in quotes.
std::string VersionList() {
  std::string list;
  for (std::string_view version : kVersions) list += (list.empty() ? "" : ",") + QuoteJson(version);
  return "[" + list + "]";
}

// Returns `text` as a JSON string, or nullopt if it is not UTF-8.
std::optional<std::string> Quote(std::string_view text) {
  std::string quoted = QuoteJson(text);
  if (!cleat::ParseJson(quoted.data(), quoted.size())) return std::nullopt;
  return quoted;
}

Error CheckVersion(const Rule& rule, const JsonValue& configuration) {
  const JsonValue* named = configuration.Find("cniVersion");
  if (named != nullptr && named->kind != JsonValue::Kind::kString) {
    return {kNotDecoded, "the network configuration has a \"cniVersion\" that is not a string", ""};
  }
  const std::string version(named == nullptr ? kFirstVersion : std::string_view(named->text));
  if (!IsSpoken(version)) {
    return {kBadVersion, "incompatible CNI versions",
            "the configuration is of version " + QuoteJson(version) + ", cleat speaks " + VersionList()};
  }
  if (Position(version) < Position(rule.since)) {
    return {kBadVersion, "config version " + version + " does not allow " + std::string(rule.word),
            std::string(rule.word) + " came with version " + std::string(rule.since)};
  }
  return {};
}

}  // namespace

Error ReadCommand(Variables variables, Command* out) {
  std::optional<std::string_view> word = variables("CNI_COMMAND");
  if (!word) {
    return {kBadVariables, "required env variables [CNI_COMMAND] missing",
            "this is the CNI plugin of cleat: container runtimes call it, see docs/cni.md"};
  }
  const auto* rule = std::find_if(kRules.begin(), kRules.end(), [&](const Rule& one) { return one.word == *word; });
  if (rule == kRules.end()) {
    const std::string quoted = Quote(*word).value_or("(not UTF-8)");
    return {kBadVariables, "unknown CNI_COMMAND: " + quoted, "known: ADD DEL CHECK GC STATUS VERSION"};
  }
  std::string missing;
  const auto require = [&](bool needed, const char* name) {
    if (needed && !variables(name)) missing += (missing.empty() ? "" : ",") + std::string(name);
  };
  require(rule->attachment, "CNI_CONTAINERID");
  require(rule->netns, "CNI_NETNS");
  require(rule->attachment, "CNI_IFNAME");
  if (!missing.empty()) return {kBadVariables, "required env variables [" + missing + "] missing", ""};
  *out = rule->command;
  return {};
}

std::string SpokenVersion(const char* data, size_t size) {
  std::optional<JsonValue> parsed = cleat::ParseJson(data, size);
  std::optional<std::string> version = parsed ? parsed->FindString("cniVersion") : std::nullopt;
  return version && IsSpoken(*version) ? *version : std::string(kNewestVersion);
}

Error ReadConfiguration(Command command, Variables variables, const std::string& configuration, std::string* body) {
  std::optional<JsonValue> parsed = cleat::ParseJson(configuration.data(), configuration.size());
  if (!parsed || parsed->kind != JsonValue::Kind::kObject) {
    return {kNotDecoded, "the network configuration on stdin is not one JSON object", ""};
  }
  if (Error error = CheckVersion(RuleOf(command), *parsed)) return error;
  std::string env;
  for (const char* name : kPassedOn) {
    std::optional<std::string_view> value = variables(name);
    if (!value) continue;
    std::optional<std::string> quoted = Quote(*value);
    if (!quoted) return {kBadVariables, std::string(name) + " is not UTF-8", ""};
    env += (env.empty() ? "" : ",") + QuoteJson(name) + ":" + *quoted;
  }
  *body = "{\"env\":{" + env + "},\"config\":" + configuration + "}";
  return {};
}

std::string PathOf(Command command) {
  return std::string(RuleOf(command).path);
}

std::string Versions(std::string_view version) {
  return "{\"cniVersion\":" + QuoteJson(version) + ",\"supportedVersions\":" + VersionList() + "}";
}

std::string Text(const Error& error, std::string_view version) {
  return "{\"cniVersion\":" + QuoteJson(version) + ",\"code\":" + std::to_string(error.code) +
         ",\"msg\":" + QuoteJson(error.message) +
         (error.details.empty() ? "" : ",\"details\":" + QuoteJson(error.details)) + "}";
}

}  // namespace cleat_cni
