// port-mapping.cc: see port-mapping.h.
#include "port-mapping.h"

#include <charconv>
#include <utility>

#include "../json/json.h"

namespace cleat_hook {

namespace {

using cleat::QuoteJson;

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

}  // namespace

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

}  // namespace cleat_hook
