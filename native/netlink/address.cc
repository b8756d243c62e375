// address.cc: see address.h.
#include "address.h"

#include <arpa/inet.h>

#include <cstdio>

namespace cleat {

std::optional<IpAddress> ParseIpAddress(const std::string& text) {
  IpAddress address;
  for (int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, text.c_str(), address.bytes.data()) != 1) continue;
    address.family = family;
    return address;
  }
  return std::nullopt;
}

std::string FormatIpAddress(int family, const void* bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(family, bytes, text, sizeof text);
  return text;
}

static int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<MacAddress> ParseMacAddress(const std::string& text) {
  MacAddress mac;
  if (text.size() != mac.size() * 3 - 1) return std::nullopt;
  for (size_t i = 0; i < mac.size(); i++) {
    int high = HexDigit(text[i * 3]);
    int low = HexDigit(text[i * 3 + 1]);
    if (high < 0 || low < 0 || (i > 0 && text[i * 3 - 1] != ':')) return std::nullopt;
    mac[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return mac;
}

std::string FormatMacAddress(const void* bytes, size_t size) {
  std::string text;
  for (size_t i = 0; i < size; i++) {
    char part[4];
    snprintf(part, sizeof part, i == 0 ? "%02x" : ":%02x", static_cast<const uint8_t*>(bytes)[i]);
    text += part;
  }
  return text;
}

}  // namespace cleat
