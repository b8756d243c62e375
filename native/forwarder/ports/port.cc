// port.cc: see port.h.
#include "port.h"

#include <sys/socket.h>

#include <cerrno>

#include "tcp-port.h"
#include "udp-port.h"

namespace cleat_forwarder {

namespace {

void ShareAddress(const UniqueFd& socket, int on) {
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
}

}  // namespace

std::unique_ptr<Port> Port::Make(Engine* engine, Lanes* lanes, const Key& key, Route route) {
  if (key.protocol == Protocol::kTcp) return std::make_unique<TcpPort>(engine, lanes, key, std::move(route));
  return std::make_unique<UdpPort>(engine, key, std::move(route));
}

void Port::Lead(Route route) {
  if (route_ != nullptr && route_->owner() == route.owner()) route.share = route_->share;
  route_ = std::make_shared<const Route>(std::move(route));
}

Failure Port::Open(const std::vector<Port*>& giving_way) {
  const Endpoint& at = key_.at;
  int type = key_.protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  socket_.Reset(socket(at.family(), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_) {
    // A family that this kernel lacks (ipv6.disable=1) has no addresses: nobody can connect to "all" of them.
    if (errno == EAFNOSUPPORT && at.IsAny()) return {};
    return {errno, "socket"};
  }
  constexpr int kOn = 1;
  // "::" is IPv6 alone: IPv4 is published separately.
  if (at.family() == AF_INET6 && setsockopt(socket_.get(), SOL_IPV6, IPV6_V6ONLY, &kOn, sizeof kOn) != 0) {
    return {errno, "setsockopt(IPV6_V6ONLY)"};
  }
  if (Failure failure = Prepare()) return failure;
  // Shares the address with nobody but the ports that give way, and only until both are bound.
  if (!giving_way.empty()) {
    ShareAddress(socket_, 1);
    for (Port* port : giving_way) ShareAddress(port->socket_, 1);
  }
  Failure failure;
  if (bind(socket_.get(), at.data(), at.size()) != 0) failure = {errno, "bind"};
  if (!failure) failure = Begin();
  if (!giving_way.empty()) {
    ShareAddress(socket_, 0);
    for (Port* port : giving_way) ShareAddress(port->socket_, 0);
  }
  if (failure) return failure;
  if (int error = engine_->Watch(socket_.get(), EPOLLIN, this); error != 0) return {error, "epoll_ctl"};
  return {};
}

}  // namespace cleat_forwarder
