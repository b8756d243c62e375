// Fuzz target: what a CNI runtime gives a plugin (native/cni/call.h): the variables and the configuration.
//
// Input: the command, CNI_CONTAINERID, CNI_NETNS, CNI_IFNAME and CNI_ARGS with a zero byte after each, then the
// configuration. Checked besides memory: an error or a request, never both; the request is JSON that holds what was
// given, and nothing else; an error is JSON with its code; there is always a version to answer in.
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "../../native/cni/call.h"
#include "../../native/json/json.h"
#include "must.h"

namespace {

using cleat::JsonValue;
using cleat_cni::Command;

constexpr std::array<const char*, 5> kNames = {"CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS"};
std::array<std::string, 5> values;

std::optional<std::string_view> Variable(const char* name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (std::string_view(kNames[i]) == name && !values[i].empty()) return values[i];
  }
  return std::nullopt;
}

void CheckError(const cleat_cni::Error& error, const std::string& version) {
  const std::string text = cleat_cni::Text(error, version);
  const std::optional<JsonValue> parsed = cleat::ParseJson(text.data(), text.size());
  MUST(parsed && parsed->FindInteger("code") == error.code && error.code > 0);
  MUST(!parsed->FindString("msg").value_or("").empty() && text.find('\n') == std::string::npos);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  for (std::string& value : values) {
    const size_t end = rest.find('\0');
    value = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  const std::string configuration(rest);
  const std::string version = cleat_cni::SpokenVersion(configuration.data(), configuration.size());
  const std::string versions = cleat_cni::Versions(version);
  MUST(cleat::ParseJson(versions.data(), versions.size()));

  Command command = Command::kVersion;
  if (const cleat_cni::Error error = cleat_cni::ReadCommand(Variable, &command)) {
    CheckError(error, version);
    return 0;
  }
  if (command == Command::kVersion) return 0;
  std::string body;
  if (const cleat_cni::Error error = cleat_cni::ReadConfiguration(command, Variable, configuration, &body)) {
    MUST(body.empty());
    CheckError(error, version);
    return 0;
  }
  const std::optional<JsonValue> request = cleat::ParseJson(body.data(), body.size());
  MUST(request && request->members.size() == 2);
  const JsonValue* env = request->Find("env");
  MUST(env != nullptr && request->Find("config")->FindString("cniVersion") == version);
  for (size_t i = 1; i < kNames.size(); ++i) {
    MUST(env->FindString(kNames[i]).value_or("") == values[i]);
  }
  return 0;
}
