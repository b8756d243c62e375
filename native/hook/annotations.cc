// annotations.cc: see annotations.h.
#include "annotations.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include "port-mapping.h"

namespace cleat_hook {

namespace {

using cleat::JsonValue;
using cleat::QuoteJson;

constexpr std::string_view kDefaultNetwork = "cleat";  // state/network.ts
constexpr std::string_view kPrefix = "cleat.";
constexpr std::string_view kKnown =
    "cleat.network cleat.ports cleat.hostname, and cleat.ip cleat.mac cleat.interface cleat.aliases, each also with "
    ".NETWORK";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Returns the items between commas in `list`, without the spaces around them; none if there is nothing.
std::vector<std::string_view> Items(std::string_view list) {
  std::vector<std::string_view> items;
  if (Trim(list).empty()) return items;
  while (true) {
    size_t comma = list.find(',');
    items.push_back(Trim(list.substr(0, comma)));
    if (comma == std::string_view::npos) return items;
    list.remove_prefix(comma + 1);
  }
}

std::string JsonList(const std::vector<std::string_view>& items) {
  std::string json;
  for (std::string_view item : items) json += (json.empty() ? "" : ",") + QuoteJson(item);
  return "[" + json + "]";
}

// The options of one network, as they are written.
struct Options {
  std::optional<std::string> ip, mac, interface, aliases;

  // Returns the option that `name` stands for; nullptr if it is not known.
  std::optional<std::string>* Slot(std::string_view name) {
    if (name == "ip") return &ip;
    if (name == "mac") return &mac;
    if (name == "interface") return &interface;
    if (name == "aliases") return &aliases;
    return nullptr;
  }

  std::string Json() const {
    std::string json;
    if (ip) json += ",\"static_ips\":" + JsonList(Items(*ip));
    if (mac) json += ",\"static_mac\":" + QuoteJson(Trim(*mac));
    if (interface) json += ",\"interface_name\":" + QuoteJson(Trim(*interface));
    if (aliases) json += ",\"aliases\":" + JsonList(Items(*aliases));
    return "{" + (json.empty() ? "" : json.substr(1)) + "}";
  }
};

struct Annotations {
  std::optional<std::string> network, ports, hostname;
  // By the name of the network; "" for the first one.
  std::map<std::string, Options, std::less<>> options;

  // Returns the annotation that `name` (without the prefix) stands for; nullptr if it is not known.
  std::optional<std::string>* Slot(std::string_view name) {
    if (name == "network") return &network;
    if (name == "ports") return &ports;
    if (name == "hostname") return &hostname;
    size_t dot = name.find('.');
    Options unknown;
    if (unknown.Slot(name.substr(0, dot)) == nullptr) return nullptr;
    std::string_view of = dot == std::string_view::npos ? "" : name.substr(dot + 1);
    if (dot != std::string_view::npos && of.empty()) return nullptr;
    return options[std::string(of)].Slot(name.substr(0, dot));
  }
};

std::string Collect(const JsonValue& state, Annotations* out) {
  const JsonValue* all = state.Find("annotations");
  if (all == nullptr || all->kind == JsonValue::Kind::kNull) return "";
  if (all->kind != JsonValue::Kind::kObject) return "the annotations in the container state are not an object";
  for (const auto& [name, value] : all->members) {
    if (name.compare(0, kPrefix.size(), kPrefix) != 0) continue;
    std::optional<std::string>* slot = out->Slot(std::string_view(name).substr(kPrefix.size()));
    if (slot == nullptr) return "unknown annotation " + QuoteJson(name) + "; known: " + std::string(kKnown);
    if (value.kind != JsonValue::Kind::kString) return "annotation " + name + " is not a string";
    *slot = value.text;
  }
  return "";
}

// Returns the program that `network` names with or without options; nullopt if it names networks.
std::optional<std::string_view> Program(std::string_view network) {
  std::string_view word = network.substr(0, network.find(':'));
  if (word == "slirp4netns" || word == "pasta") return word;
  return std::nullopt;
}

// The program checks its options, as those of `cleat run --network`.
std::string Uplink(std::string_view network, std::string_view program) {
  std::vector<std::string_view> options = Items(network.substr(std::min(program.size() + 1, network.size())));
  options.erase(std::remove(options.begin(), options.end(), ""), options.end());
  return ",\"uplink\":{\"program\":" + QuoteJson(program) +
         (options.empty() ? "" : ",\"options\":" + JsonList(options)) + "}";
}

std::string WithoutNetworks(const Annotations& annotations, std::string_view network, std::string* out) {
  if (!annotations.options.empty()) {
    return "annotation cleat.network is " + QuoteJson(network) +
           ": there is no network to give an address or a name to";
  }
  std::optional<std::string_view> program = Program(network);
  *out = program ? Uplink(network, *program) : ",\"networks\":{}";
  return "";
}

// Returns why a container cannot have a network of this name; empty if it can.
std::string WhyNoNetwork(std::string_view name, const std::string& list) {
  if (name.empty()) return "annotation cleat.network has an empty name in " + QuoteJson(list);
  if (name == "none" || Program(name)) {
    return "annotation cleat.network: " + QuoteJson(name) + " and networks exclude each other";
  }
  if (name == "host" || name.compare(0, 10, "container:") == 0 || name.compare(0, 3, "ns:") == 0) {
    return "annotation cleat.network: " + QuoteJson(name) +
           " is no network; the namespace is chosen in linux.namespaces of config.json";
  }
  return "";
}

std::string Networks(Annotations* annotations, std::string* out) {
  std::vector<std::string_view> names{kDefaultNetwork};
  if (annotations->network) {
    std::string_view all = Trim(*annotations->network);
    if (all.empty()) return "annotation cleat.network is empty; for no network it is \"none\"";
    if (all == "none" || Program(all)) return WithoutNetworks(*annotations, all, out);
    names = Items(all);
  } else if (annotations->options.empty()) {
    return "";  // the daemon's default
  }
  std::string json;
  std::set<std::string_view> seen;
  for (size_t i = 0; i < names.size(); ++i) {
    if (annotations->network) {
      if (std::string problem = WhyNoNetwork(names[i], *annotations->network); !problem.empty()) return problem;
    }
    if (!seen.insert(names[i]).second) {
      return "annotation cleat.network names " + QuoteJson(names[i]) + " twice";
    }
    auto options = annotations->options.find(names[i]);
    if (i == 0 && annotations->options.count("") > 0) {
      if (options != annotations->options.end()) {
        return "annotations with and without ." + std::string(names[i]) + " are for the same network";
      }
      options = annotations->options.find("");
    }
    json += (json.empty() ? "" : ",") + QuoteJson(names[i]) + ":" +
            (options == annotations->options.end() ? "{}" : options->second.Json());
  }
  for (const auto& [name, options] : annotations->options) {
    if (!name.empty() && seen.count(name) == 0) {
      return "there are annotations for network " + QuoteJson(name) + ", which cleat.network does not name";
    }
  }
  *out = ",\"networks\":{" + json + "}";
  return "";
}

std::string Ports(const Annotations& annotations, std::string* out) {
  std::string json;
  if (!annotations.ports) return "";
  for (std::string_view item : Items(*annotations.ports)) {
    std::optional<std::string> mapping = PortMapping(item);
    if (!mapping) {
      return "annotation cleat.ports: " + QuoteJson(item) +
             " is not [[HOST_IP:][HOST_PORT]:]CONTAINER_PORT[/tcp|udp|sctp], such as 8080:80/tcp or [::1]:53:53/udp";
    }
    json += (json.empty() ? "" : ",") + *mapping;
  }
  if (!json.empty()) *out = ",\"port_mappings\":[" + json + "]";
  return "";
}

}  // namespace

std::string ReadAnnotations(const JsonValue& state, NetworkRequest* out) {
  Annotations annotations;
  std::string networks;
  std::string ports;
  std::string problem = Collect(state, &annotations);
  if (problem.empty()) problem = Networks(&annotations, &networks);
  if (problem.empty()) problem = Ports(annotations, &ports);
  if (!problem.empty()) return problem;
  std::string hostname = annotations.hostname ? ",\"hostname\":" + QuoteJson(Trim(*annotations.hostname)) : "";
  *out = {networks + ports + hostname, annotations.network.has_value()};
  return "";
}

}  // namespace cleat_hook
