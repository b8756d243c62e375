// container.cc: see container.h.
//
// The state is that of the OCI runtime specification (runtime.md, "State"); hooks get it on stdin (config.md, "POSIX-
// platform Hooks").
#include "container.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

#include "../json/json.h"

namespace cleat_hook {

namespace {

using cleat::JsonValue;
using cleat::ParseJson;
using cleat::QuoteJson;

// The same as in state/names.ts and state/network.ts.
constexpr size_t kMaxId = 100;
constexpr int64_t kMaxPid = 4'194'304;
constexpr std::string_view kDefaultNetwork = "cleat";

constexpr std::string_view kPrefix = "cleat.";

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Returns the items between commas in `text`, without the spaces around them; none if there is nothing.
std::vector<std::string_view> Items(const std::string& text) {
  std::string_view list = text;
  std::vector<std::string_view> items;
  if (Trim(list).empty()) return items;
  while (true) {
    size_t comma = list.find(',');
    items.push_back(Trim(list.substr(0, comma)));
    if (comma == std::string_view::npos) return items;
    list.remove_prefix(comma + 1);
  }
}
std::vector<std::string_view> Items(std::string&&) = delete;  // the items point into the text

bool IsId(std::string_view id) {
  auto alphanumeric = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'); };
  if (id.empty() || id.size() > kMaxId || !alphanumeric(id.front())) return false;
  return std::all_of(id.begin(), id.end(), [&](char c) { return alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

struct Annotations {
  std::optional<std::string> network, ports, ip, mac, interface;
};

// Returns the annotation that `name` (without the prefix) stands for; nullptr if it is not known.
std::optional<std::string>* Slot(Annotations* annotations, std::string_view name) {
  if (name == "network") return &annotations->network;
  if (name == "ports") return &annotations->ports;
  if (name == "ip") return &annotations->ip;
  if (name == "mac") return &annotations->mac;
  if (name == "interface") return &annotations->interface;
  return nullptr;
}

std::string ReadAnnotations(const JsonValue& state, Annotations* out) {
  const JsonValue* all = state.Find("annotations");
  if (all == nullptr || all->kind == JsonValue::Kind::kNull) return "";
  if (all->kind != JsonValue::Kind::kObject) return "the annotations in the container state are not an object";
  for (const auto& [name, value] : all->members) {
    if (name.compare(0, kPrefix.size(), kPrefix) != 0) continue;
    std::optional<std::string>* slot = Slot(out, std::string_view(name).substr(kPrefix.size()));
    if (slot == nullptr) {
      return "unknown annotation " + QuoteJson(name) +
             "; known: cleat.network cleat.ports cleat.ip cleat.mac cleat.interface";
    }
    if (value.kind != JsonValue::Kind::kString) return "annotation " + name + " is not a string";
    *slot = value.text;
  }
  return "";
}

struct Numbers {
  int first = 0;
  int count = 1;
};

// Reads "80" or "80-89".
std::optional<Numbers> ReadNumbers(std::string_view text) {
  auto port = [](std::string_view digits) -> std::optional<int> {
    int number;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number < 1 || number > 65535) {
      return std::nullopt;
    }
    return number;
  };
  size_t dash = text.find('-');
  std::optional<int> first = port(text.substr(0, dash));
  std::optional<int> last = dash == std::string_view::npos ? first : port(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return Numbers{*first, *last - *first + 1};
}

// Returns the text after the last colon, and leaves the text before it in *rest.
std::string_view TakeLast(std::string_view* rest) {
  size_t colon = rest->rfind(':');
  if (colon == std::string_view::npos) return std::exchange(*rest, {});
  std::string_view last = rest->substr(colon + 1);
  rest->remove_suffix(last.size() + 1);
  return last;
}

// Reads [[HOST_IP:][HOST_PORTS]:]CONTAINER_PORTS[/PROTOCOL] from the right: an IPv6 address, in brackets, has colons.
std::optional<std::string> PortMapping(std::string_view text) {
  std::string json;
  size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    std::string_view protocol = text.substr(slash + 1);
    if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") return std::nullopt;
    json = ",\"protocol\":" + QuoteJson(protocol);
    text = text.substr(0, slash);
  }
  bool has_host = text.find(':') != std::string_view::npos;
  std::optional<Numbers> container = ReadNumbers(TakeLast(&text));
  if (!container) return std::nullopt;
  if (has_host) {
    bool has_ip = text.find(':') != std::string_view::npos;
    std::string_view host_ports = TakeLast(&text);
    if (!host_ports.empty()) {
      std::optional<Numbers> host = ReadNumbers(host_ports);
      if (!host || host->count != container->count) return std::nullopt;
      json += ",\"host_port\":" + std::to_string(host->first);
    } else if (!has_ip) {
      return std::nullopt;  // ":80" says neither
    }
    if (has_ip) {
      bool brackets = text.size() > 2 && text.front() == '[' && text.back() == ']';
      if (brackets) text = text.substr(1, text.size() - 2);
      if (text.empty() || (!brackets && text.find(':') != std::string_view::npos)) return std::nullopt;
      json += ",\"host_ip\":" + QuoteJson(text);
    }
  }
  if (container->count > 1) json += ",\"range\":" + std::to_string(container->count);
  return "{\"container_port\":" + std::to_string(container->first) + json + "}";
}

// Returns the JSON of cleat.ip, cleat.mac and cleat.interface, for the first network.
std::string Options(const Annotations& annotations) {
  std::string json;
  if (annotations.ip) {
    std::string list;
    for (std::string_view ip : Items(*annotations.ip)) list += (list.empty() ? "" : ",") + QuoteJson(ip);
    json += ",\"static_ips\":[" + list + "]";
  }
  if (annotations.mac) json += ",\"static_mac\":" + QuoteJson(Trim(*annotations.mac));
  if (annotations.interface) json += ",\"interface_name\":" + QuoteJson(Trim(*annotations.interface));
  return "{" + (json.empty() ? "" : json.substr(1)) + "}";
}

std::string Networks(const Annotations& annotations, std::string* out) {
  std::string options = Options(annotations);
  if (!annotations.network && options == "{}") return "";  // the daemon's default
  std::vector<std::string_view> names{kDefaultNetwork};
  if (annotations.network) names = Items(*annotations.network);
  if (names.empty()) return "annotation cleat.network is empty; for no network it is \"none\"";
  if (names.size() == 1 && names[0] == "none") {
    if (options != "{}")
      return "annotation cleat.network is \"none\": there is nothing to give an address or a name to";
    *out = ",\"networks\":{}";
    return "";
  }
  std::string json;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) return "annotation cleat.network has an empty name in " + QuoteJson(*annotations.network);
    const auto here = names.begin() + static_cast<ptrdiff_t>(i);
    if (std::find(names.begin(), here, names[i]) != here) {
      return "annotation cleat.network names " + QuoteJson(names[i]) + " twice";
    }
    json += (json.empty() ? "" : ",") + QuoteJson(names[i]) + ":" + (i == 0 ? options : "{}");
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
    *out = {*id, 0, ""};
    return "";
  }
  std::optional<int64_t> pid = state->FindInteger("pid");
  if (!pid || *pid < 1 || *pid > kMaxPid) return "the container state has no \"pid\" of a running process";
  Annotations annotations;
  std::string problem = ReadAnnotations(*state, &annotations);
  std::string networks;
  std::string ports;
  if (problem.empty()) problem = Networks(annotations, &networks);
  if (problem.empty()) problem = Ports(annotations, &ports);
  if (problem.empty()) *out = {*id, *pid, networks + ports};
  return problem;
}

std::string CreateAndConfigure(const Container& container) {
  std::string id = QuoteJson(container.id);
  return "{\"type\":\"create\",\"id\":" + id + ",\"netns\":{\"mode\":\"pid\",\"pid\":" + std::to_string(container.pid) +
         "}" + container.create_fields + "}\n{\"type\":\"configure\",\"id\":" + id + "}\n";
}

std::string Teardown(std::string_view id) {
  return "{\"type\":\"teardown\",\"id\":" + QuoteJson(id) + "}";
}

}  // namespace cleat_hook
