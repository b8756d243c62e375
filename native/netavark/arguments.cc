// arguments.cc: see arguments.h.
#include "arguments.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "../client/version.h"
#include "../printable.h"

namespace cleat_netavark {

namespace {

// As clap, netavark's parser of arguments, exits.
constexpr int kUsage = 2;

constexpr const char* kHelp =
    R"(cleat-netavark, which gives containers of Podman their network by cleat's daemon

USAGE:
    cleat-netavark [OPTIONS] <SUBCOMMAND>

OPTIONS:
    -f, --file <FILE>                      Read the JSON of this file instead of stdin
        --firewall-driver <DRIVER>         Taken for netavark's sake; the daemon's rules are nftables'
    -r, --rootless <true|false>            Taken for netavark's sake
    -c, --config <CONFIG>                  Taken for netavark's sake
    -a, --aardvark-binary <PATH>           Taken for netavark's sake; the daemon finds aardvark-dns by itself
        --plugin-directory <DIRECTORY>     Taken for netavark's sake
    -h, --help                             Print this help
    -V, --version                          Print the version

SUBCOMMANDS:
    setup <NETWORK_NAMESPACE_PATH>         Give the container the networks of the JSON; prints what it got
    teardown <NETWORK_NAMESPACE_PATH>      Take the container off these networks
    update <NETWORK_NAME> --network-dns-servers <LIST>
                                           Change the servers of the network for names of others
    create                                 Complete and check the definition of a network; prints it
    version                                Print the version as JSON

The daemon is the one at CLEAT_SOCKET, or the one of the caller's network namespace, which is started if there is none.
An error is {"error": "..."} on stdout, with exit code 1.

EXAMPLES:
    podman info --format json | jq .host.networkBackendInfo     which program Podman runs
    cleat-netavark setup /run/netns/test < request.json
)";

Text Mistake(const std::string& what) {
  return {"error: " + cleat::Printable(what) + "\n\nFor more information try --help\n", true, kUsage};
}

struct Option {
  std::string_view name;
  char letter;  // 0: it has none
};

constexpr Option kOptions[] = {
    {"--file", 'f'},          {"--config", 'c'},         {"--rootless", 'r'},          {"--aardvark-binary", 'a'},
    {"--firewall-driver", 0}, {"--plugin-directory", 0}, {"--network-dns-servers", 0},
};

// These may be given several times.
bool IsRepeatable(std::string_view name) {
  return name == "--plugin-directory" || name == "--network-dns-servers";
}

struct Word {
  const Option* option = nullptr;
  std::optional<std::string> value;  // that in the same word
};

// Takes an option apart: its name, and the value that follows within the word.
Word TakeOption(std::string_view word) {
  const bool is_long = word.substr(0, 2) == "--";
  const size_t equals = is_long ? word.find('=') : std::string_view::npos;
  const std::string_view name = word.substr(0, equals);
  for (const Option& option : kOptions) {
    if (is_long && name == option.name) {
      if (equals == std::string_view::npos) return {&option, std::nullopt};
      return {&option, std::string(word.substr(equals + 1))};
    }
    if (is_long || option.letter == 0 || word.size() < 2 || word[1] != option.letter) continue;
    if (word.size() == 2) return {&option, std::nullopt};
    return {&option, std::string(word.substr(word[2] == '=' ? 3 : 2))};
  }
  return {};
}

void AddList(std::string_view list, std::vector<std::string>* out) {
  while (!list.empty()) {
    const size_t end = std::min(list.find(','), list.size());
    if (end > 0) out->emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
}

struct Words {
  std::vector<std::string> positional;
  std::vector<std::string_view> seen;  // options
};

std::optional<Text> Set(const Option& option, const std::string& value, Words* words, Invocation* out) {
  const bool again = std::find(words->seen.begin(), words->seen.end(), option.name) != words->seen.end();
  if (again && !IsRepeatable(option.name)) {
    return Mistake("The argument '" + std::string(option.name) + "' was provided more than once");
  }
  words->seen.push_back(option.name);
  if (option.name == "--file") out->file = value;
  if (option.name == "--firewall-driver") out->firewall_driver = value;
  if (option.name == "--network-dns-servers") AddList(value, &out->dns_servers);
  if (option.name == "--rootless" && value != "true" && value != "false") {
    return Mistake("Invalid value \"" + value + "\" for '--rootless': provided string was not `true` or `false`");
  }
  return std::nullopt;
}

std::optional<Text> ReadWords(int argc, char** argv, Words* words, Invocation* out) {
  bool options_end = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (options_end || word.size() < 2 || word[0] != '-') {
      words->positional.emplace_back(word);
    } else if (word == "--") {
      options_end = true;
    } else if (word == "-h" || word == "--help") {
      return Text{kHelp};
    } else if (word == "-V" || word == "--version") {
      return Text{std::string("cleat-netavark ") + cleat_client::kVersion + "\n"};
    } else {
      Word taken = TakeOption(word);
      if (taken.option == nullptr) {
        return Mistake("Found argument '" + std::string(word) +
                       "' which wasn't expected, or isn't valid in this context");
      }
      if (!taken.value) {
        if (i + 1 == argc) {
          return Mistake("The argument '" + std::string(taken.option->name) +
                         "' requires a value but none was supplied");
        }
        taken.value = argv[++i];
      }
      if (auto text = Set(*taken.option, *taken.value, words, out)) return text;
    }
  }
  return std::nullopt;
}

struct VerbName {
  std::string_view name;
  Verb verb;
  std::string_view object;  // empty: it has none
};

constexpr VerbName kVerbs[] = {
    {"setup", Verb::kSetup, "<NETWORK_NAMESPACE_PATH>"},
    {"teardown", Verb::kTeardown, "<NETWORK_NAMESPACE_PATH>"},
    {"update", Verb::kUpdate, "<NETWORK_NAME>"},
    {"create", Verb::kCreate, ""},
    {"version", Verb::kVersion, ""},
};

// Those of netavark that are programs of their own, which cleat has not: its daemon does what they do.
constexpr std::string_view kServices[] = {"dhcp-proxy", "firewalld-reload", "nftables-reload", "firewall-reload"};

}  // namespace

std::optional<Text> ReadArguments(int argc, char** argv, Invocation* out) {
  if (const char* driver = std::getenv("NETAVARK_FW"); driver != nullptr) out->firewall_driver = driver;
  Words words;
  if (auto text = ReadWords(argc, argv, &words, out)) return text;
  if (words.positional.empty()) return Text{kHelp, true, kUsage};

  const std::string& verb = words.positional.front();
  if (verb == "help") return Text{kHelp};
  if (std::find(std::begin(kServices), std::end(kServices), verb) != std::end(kServices)) {
    return Text{"{\"error\":\"" + verb + " is no part of cleat: its daemon does that itself\"}\n", false, EXIT_FAILURE};
  }
  const auto* known =
      std::find_if(std::begin(kVerbs), std::end(kVerbs), [&](const VerbName& one) { return one.name == verb; });
  if (known == std::end(kVerbs)) {
    return Mistake("Found argument '" + verb + "' which wasn't expected, or isn't valid in this context");
  }
  out->verb = known->verb;
  const size_t expected = known->object.empty() ? 1 : 2;
  if (words.positional.size() > expected) {
    return Mistake("Found argument '" + words.positional[expected] +
                   "' which wasn't expected, or isn't valid in this context");
  }
  if (words.positional.size() < expected || words.positional.back().empty()) {
    return Mistake("The following required arguments were not provided: " + std::string(known->object));
  }
  if (expected == 2) out->object = words.positional[1];
  const bool has_servers = std::find(words.seen.begin(), words.seen.end(), "--network-dns-servers") != words.seen.end();
  if (known->verb == Verb::kUpdate && !has_servers) {
    return Mistake("The following required arguments were not provided: --network-dns-servers <LIST>");
  }
  if (known->verb != Verb::kUpdate && has_servers) {
    return Mistake("Found argument '--network-dns-servers' which wasn't expected, or isn't valid in this context");
  }
  return std::nullopt;
}

}  // namespace cleat_netavark
