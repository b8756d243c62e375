// endpoint.cc: see endpoint.h.
#include "endpoint.h"

#include <arpa/inet.h>

#include <cstring>

namespace cleat_forwarder {

Endpoint::Endpoint() {
  std::memset(&any_, 0, sizeof any_);
  any_.v4.sin_family = AF_INET;
}

std::optional<Endpoint> Endpoint::Parse(const std::string& address, uint16_t port) {
  Endpoint endpoint;
  if (address.find('\0') != std::string::npos) return std::nullopt;
  if (inet_pton(AF_INET, address.c_str(), &endpoint.any_.v4.sin_addr) == 1) {
    endpoint.set_port(port);
    return endpoint;
  }
  std::memset(&endpoint.any_, 0, sizeof endpoint.any_);
  if (inet_pton(AF_INET6, address.c_str(), &endpoint.any_.v6.sin6_addr) != 1) return std::nullopt;
  if (IN6_IS_ADDR_V4MAPPED(&endpoint.any_.v6.sin6_addr)) return std::nullopt;
  endpoint.any_.v6.sin6_family = AF_INET6;
  endpoint.set_port(port);
  return endpoint;
}

std::optional<Endpoint> Endpoint::From(const sockaddr_storage& storage) {
  Endpoint endpoint;
  if (storage.ss_family == AF_INET) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(storage);
    endpoint.any_.v4.sin_addr = from.sin_addr;
    endpoint.any_.v4.sin_port = from.sin_port;
    return endpoint;
  }
  if (storage.ss_family != AF_INET6) return std::nullopt;
  const auto& from = reinterpret_cast<const sockaddr_in6&>(storage);
  if (IN6_IS_ADDR_V4MAPPED(&from.sin6_addr)) return std::nullopt;
  std::memset(&endpoint.any_, 0, sizeof endpoint.any_);
  endpoint.any_.v6.sin6_family = AF_INET6;
  endpoint.any_.v6.sin6_addr = from.sin6_addr;
  endpoint.any_.v6.sin6_port = from.sin6_port;
  endpoint.any_.v6.sin6_scope_id = from.sin6_scope_id;
  return endpoint;
}

uint16_t Endpoint::port() const {
  return ntohs(any_.v4.sin_port);  // both have it at the same place
}

void Endpoint::set_port(uint16_t port) {
  any_.v4.sin_port = htons(port);
}

std::string Endpoint::Address() const {
  char text[INET6_ADDRSTRLEN];
  const void* address = family() == AF_INET ? static_cast<const void*>(&any_.v4.sin_addr) : &any_.v6.sin6_addr;
  return inet_ntop(family(), address, text, sizeof text);
}

bool Endpoint::IsAny() const {
  return family() == AF_INET ? any_.v4.sin_addr.s_addr == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(&any_.v6.sin6_addr);
}

bool Endpoint::IsLoopback() const {
  if (family() == AF_INET) return ntohl(any_.v4.sin_addr.s_addr) >> 24 == 127;
  return IN6_IS_ADDR_LOOPBACK(&any_.v6.sin6_addr);
}

bool Endpoint::IsMulticast() const {
  if (family() == AF_INET) return ntohl(any_.v4.sin_addr.s_addr) >> 28 >= 14;  // and 240/4, which is reserved
  return IN6_IS_ADDR_MULTICAST(&any_.v6.sin6_addr);
}

bool Endpoint::IsLinkLocal() const {
  return family() == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&any_.v6.sin6_addr);
}

socklen_t Endpoint::size() const {
  return family() == AF_INET ? sizeof any_.v4 : sizeof any_.v6;
}

bool operator<(const Endpoint& a, const Endpoint& b) {
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): every byte is set, padding too, by Endpoint()
  return std::memcmp(&a.any_, &b.any_, sizeof a.any_) < 0;
}

bool operator==(const Endpoint& a, const Endpoint& b) {
  // NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): every byte is set, padding too, by Endpoint()
  return std::memcmp(&a.any_, &b.any_, sizeof a.any_) == 0;
}

bool operator<(const Key& a, const Key& b) {
  return a.protocol != b.protocol ? a.protocol < b.protocol : a.at < b.at;
}

bool operator==(const Key& a, const Key& b) {
  return a.protocol == b.protocol && a.at == b.at;
}

bool Collide(const Key& a, const Key& b) {
  if (a.protocol != b.protocol || a.at.family() != b.at.family() || a.at.port() != b.at.port()) return false;
  return a.at.IsAny() || b.at.IsAny() || a.at == b.at;
}

}  // namespace cleat_forwarder
