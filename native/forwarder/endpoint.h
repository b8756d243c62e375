// endpoint.h: an address with a port, and the key of a published port.
//
// Guarantees: an Endpoint is always one of IPv4 or IPv6, its unused bytes zero, so that equal ones have equal bytes. It
// is never an IPv4-mapped IPv6 address (::ffff:127.0.0.1): sockets take those for IPv4, so they would pass the checks
// of IPv6 and reach, or come from, a loopback. On the wire only forged packets have them (RFC 4038, 4.2).
// Limits: a parsed Endpoint has no scope: a link-local address without its link leads nowhere.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

namespace cleat_forwarder {

class Endpoint {
 public:
  Endpoint();

  // Parses a literal address ("10.0.0.1", "fd00::1"); nullopt for anything else.
  static std::optional<Endpoint> Parse(const std::string& address, uint16_t port);
  // Reads an address that the kernel has written; nullopt when it is no Endpoint.
  static std::optional<Endpoint> From(const sockaddr_storage& storage);

  sa_family_t family() const { return any_.v4.sin_family; }
  uint16_t port() const;
  void set_port(uint16_t port);
  std::string Address() const;

  bool IsAny() const;
  bool IsLoopback() const;
  bool IsMulticast() const;
  bool IsLinkLocal() const;  // IPv6 only: it needs a scope

  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&any_); }
  socklen_t size() const;
  const in_addr& v4() const { return any_.v4.sin_addr; }
  const in6_addr& v6() const { return any_.v6.sin6_addr; }

  // An order for maps: by all bytes.
  friend bool operator<(const Endpoint& a, const Endpoint& b);
  friend bool operator==(const Endpoint& a, const Endpoint& b);

 private:
  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
  } any_;
};

enum class Protocol : uint8_t { kTcp, kUdp };

// A published port: no two rules have the same.
struct Key {
  Protocol protocol = Protocol::kTcp;
  Endpoint at;

  friend bool operator<(const Key& a, const Key& b);
  friend bool operator==(const Key& a, const Key& b);
};

// Returns true if sockets of both keys exclude each other: the same port, on the same address or on every one.
bool Collide(const Key& a, const Key& b);

}  // namespace cleat_forwarder
