// arguments.h: netavark's command line.
//
// Guarantees: every option of netavark 1.4 to 2.x is taken, before or after the verb, as "--name value",
// "--name=value",
// "-n value", "-nvalue" or "-n=value". Anything else is a mistake of the caller, in netavark's words and with its exit
// code. Limits: what configures netavark's own helpers (where aardvark-dns is, where it keeps its files) is read and
// passed over: the daemon has its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace cleat_netavark {

enum class Verb { kSetup, kTeardown, kUpdate, kCreate, kVersion };

struct Invocation {
  Verb verb = Verb::kVersion;
  std::string object;               // the namespace path of setup and teardown, the network of update
  std::optional<std::string> file;  // instead of stdin
  std::string firewall_driver;      // empty: the daemon's choice
  std::vector<std::string> dns_servers;
};

// What there is to do instead of a verb: a text for people, and where it goes.
struct Text {
  std::string text;
  bool to_stderr = false;
  int exit_code = 0;
};

// Returns nothing if `out` is complete.
std::optional<Text> ReadArguments(int argc, char** argv, Invocation* out);

}  // namespace cleat_netavark
