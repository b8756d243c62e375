// address.h: IP and Ethernet addresses as bytes, and the text they are written in.
//
// Guarantees: accepted text is exactly what inet_pton(3) accepts (no host names, no octal), or six colon-separated hex
// pairs; returned text has inet_ntop's canonical form. Limits: no scoped addresses ("fe80::1%eth0").
#pragma once

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace cleat {

struct IpAddress {
  int family = AF_UNSPEC;  // AF_INET or AF_INET6
  std::array<uint8_t, 16> bytes{};

  size_t size() const { return family == AF_INET ? 4 : 16; }
  unsigned bits() const { return static_cast<unsigned>(size()) * 8; }
};

using MacAddress = std::array<uint8_t, 6>;

std::optional<IpAddress> ParseIpAddress(const std::string& text);
std::string FormatIpAddress(int family, const void* bytes);

std::optional<MacAddress> ParseMacAddress(const std::string& text);
// Accepts any length of hardware address. Returns "" for length 0.
std::string FormatMacAddress(const void* bytes, size_t size);

}  // namespace cleat
