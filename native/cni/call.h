// call.h: what a runtime asks a CNI plugin for: the CNI_ variables and the network configuration.
//
// The protocol is the CNI specification (containernetworking/cni, SPEC.md), "Parameters" and "Errors".
//
// Guarantees: pure functions of their arguments, without exceptions, so that they can be fuzzed like ParseJson below
// them. What passes is a command of the specification with the variables that it needs, and a configuration that is a
// JSON object of a version that is spoken here.
// Limits: what names, addresses and options mean is judged by the daemon (service/fronts/cni/).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cleat_cni {

// Error codes of the specification; from 100 on they are a plugin's own.
constexpr int kBadVersion = 1;
constexpr int kBadVariables = 4;
constexpr int kIoFailure = 5;
constexpr int kNotDecoded = 6;
constexpr int kBadConfiguration = 7;
constexpr int kTryAgainLater = 11;
constexpr int kNotAvailable = 50;
constexpr int kInternal = 999;

struct Error {
  int code = 0;  // 0: none
  std::string message;
  std::string details;

  explicit operator bool() const { return code != 0; }
};

enum class Command { kAdd, kDelete, kCheck, kCollect, kStatus, kVersion };

// The newest version of the specification that is spoken here.
constexpr std::string_view kNewestVersion = "1.1.0";

// The value of a variable; nullopt if it is absent or empty, which the specification does not tell apart.
using Variables = std::optional<std::string_view> (*)(const char* name);

// Reads CNI_COMMAND, and checks that the variables which the command needs are there.
Error ReadCommand(Variables variables, Command* out);

// Returns the version that a configuration names if it is spoken here, otherwise the newest one.
std::string SpokenVersion(const char* data, size_t size);

// Checks the configuration, and sets `body` to the request for the daemon: {"env":{...},"config":...}.
Error ReadConfiguration(Command command, Variables variables, const std::string& configuration, std::string* body);

// Returns where the daemon takes the command.
std::string PathOf(Command command);

// Returns the answer to VERSION.
std::string Versions(std::string_view version);

// Returns an error as the specification prints it.
std::string Text(const Error& error, std::string_view version);

}  // namespace cleat_cni
