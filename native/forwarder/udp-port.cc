// udp-port.cc: see udp-port.h.
#include "udp-port.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <tuple>

namespace cleat_forwarder {

namespace {

constexpr int64_t kIdleMs = 90'000;
constexpr size_t kMaxClients = 1024;
// Datagrams taken in one call, and calls in one turn.
constexpr unsigned kBatch = 16;
constexpr int kRounds = 4;
// No datagram is larger (RFC 768: 16 bits of length). Memory is only used as far as datagrams fill it.
constexpr size_t kLargest = 65536;

struct Batch {
  char bytes[kBatch][kLargest];
  alignas(cmsghdr) char controls[kBatch][256];
  sockaddr_storage from[kBatch];
  iovec parts[kBatch];
  mmsghdr messages[kBatch];

  // How many came; whatever is wrong with the socket (an ICMP error) is no reason to stop.
  unsigned Receive(int socket) {
    for (unsigned i = 0; i < kBatch; ++i) {
      parts[i] = {bytes[i], kLargest};
      msghdr header{};
      header.msg_name = &from[i];
      header.msg_namelen = sizeof from[i];
      header.msg_iov = &parts[i];
      header.msg_iovlen = 1;
      header.msg_control = controls[i];
      header.msg_controllen = sizeof controls[i];
      messages[i] = {header, 0};
    }
    int count = recvmmsg(socket, messages, kBatch, MSG_DONTWAIT, nullptr);
    return count < 0 ? 0 : static_cast<unsigned>(count);
  }
};

Batch batch;  // one thread, one at a time

template <typename T>
T FromControl(const cmsghdr* control) {
  T value;
  std::memcpy(&value, CMSG_DATA(control), sizeof value);
  return value;
}

}  // namespace

bool UdpPort::Way::operator<(const Way& other) const {
  return std::tie(client, local, interface) < std::tie(other.client, other.local, other.interface);
}

Failure UdpPort::Prepare() {
  constexpr int kOn = 1;
  bool v4 = key().at.family() == AF_INET;
  // With each datagram, the address that it was sent to (ip(7), ipv6(7)).
  int level = v4 ? SOL_IP : SOL_IPV6;
  int name = v4 ? IP_PKTINFO : IPV6_RECVPKTINFO;
  if (setsockopt(socket_.get(), level, name, &kOn, sizeof kOn) != 0) return {errno, "setsockopt"};
  return {};
}

void UdpPort::Ready(uint32_t) {
  for (int round = 0; round < kRounds; ++round) {
    if (buried()) return;
    unsigned count = batch.Receive(socket_.get());
    for (unsigned i = 0; i < count; ++i) {
      std::optional<Endpoint> from = Endpoint::From(batch.from[i]);
      if (!from || from->port() == 0) continue;  // nobody to answer
      Way way{*from, key().at, 0};
      msghdr* header = &batch.messages[i].msg_hdr;
      for (cmsghdr* control = CMSG_FIRSTHDR(header); control != nullptr; control = CMSG_NXTHDR(header, control)) {
        sockaddr_storage local{};
        if (control->cmsg_level == SOL_IP && control->cmsg_type == IP_PKTINFO) {
          auto info = FromControl<in_pktinfo>(control);
          reinterpret_cast<sockaddr_in&>(local).sin_family = AF_INET;
          reinterpret_cast<sockaddr_in&>(local).sin_addr = info.ipi_spec_dst;  // of a broadcast: ours on that link
          way.local = *Endpoint::From(local);
        } else if (control->cmsg_level == SOL_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
          auto info = FromControl<in6_pktinfo>(control);
          reinterpret_cast<sockaddr_in6&>(local).sin6_family = AF_INET6;
          reinterpret_cast<sockaddr_in6&>(local).sin6_addr = info.ipi6_addr;
          way.local = *Endpoint::From(local);
          if (way.local.IsLinkLocal()) way.interface = info.ipi6_ifindex;
        }
      }
      FromClient(way, batch.bytes[i], batch.messages[i].msg_len);
    }
    if (count < kBatch) return;
  }
}

void UdpPort::FromClient(const Way& way, const char* data, size_t size) {
  auto known = by_way_.find(way);
  if (known != by_way_.end() && (*known->second)->route != route_) {
    Dismiss(known->second);
    known = by_way_.end();
  }
  Client* client = known == by_way_.end() ? Welcome(way) : known->second->get();
  if (client == nullptr) return;
  Heard(by_way_.find(way)->second);
  // What an earlier datagram has met (ECONNREFUSED) is told by the next call, in place of what it was called for.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (send(client->socket.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) continue;
    in_ += size;
    return;
  }
}

UdpPort::Client* UdpPort::Welcome(const Way& way) {
  auto client = std::make_unique<Client>();
  const Route& to = *route_;
  if (to.place->MakeSocket(to.to.family(), SOCK_DGRAM, &client->socket)) return nullptr;
  if (connect(client->socket.get(), to.to.data(), to.to.size()) != 0) return nullptr;
  if (engine_->Watch(client->socket.get(), EPOLLIN, client.get()) != 0) return nullptr;
  if (clients_.size() == kMaxClients) Dismiss(clients_.begin());
  client->port = this;
  client->way = way;
  client->route = route_;
  engine_->open++;
  clients_.push_back(std::move(client));
  by_way_[way] = std::prev(clients_.end());
  return clients_.back().get();
}

void UdpPort::Heard(Clients::iterator client) {
  (*client)->last = engine_->now();
  clients_.splice(clients_.end(), clients_, client);
}

UdpPort::Clients::iterator UdpPort::Dismiss(Clients::iterator client) {
  by_way_.erase((*client)->way);
  (*client)->socket.Reset();
  (*client)->route.reset();
  engine_->open--;
  std::unique_ptr<Client> gone = std::move(*client);
  auto next = clients_.erase(client);
  engine_->Bury(std::move(gone));
  return next;
}

void UdpPort::Client::Ready(uint32_t) {
  if (!buried()) port->FromInside(this);
}

void UdpPort::FromInside(Client* client) {
  for (int round = 0; round < kRounds; ++round) {
    unsigned count = batch.Receive(client->socket.get());
    for (unsigned i = 0; i < count; ++i) Answer(client->way, batch.bytes[i], batch.messages[i].msg_len);
    if (count > 0) Heard(by_way_.find(client->way)->second);
    if (count < kBatch) return;
  }
}

void UdpPort::Answer(const Way& way, const char* data, size_t size) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(in6_pktinfo))] = {};
  iovec part{const_cast<char*>(data), size};
  msghdr header{};
  header.msg_name = const_cast<sockaddr*>(way.client.data());
  header.msg_namelen = way.client.size();
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  cmsghdr* info = CMSG_FIRSTHDR(&header);
  if (way.local.family() == AF_INET) {
    in_pktinfo from{};
    from.ipi_spec_dst = way.local.v4();
    info->cmsg_level = SOL_IP;
    info->cmsg_type = IP_PKTINFO;
    info->cmsg_len = CMSG_LEN(sizeof from);
    std::memcpy(CMSG_DATA(info), &from, sizeof from);
    header.msg_controllen = CMSG_SPACE(sizeof from);
  } else {
    in6_pktinfo from{};
    if (!way.local.IsMulticast()) from.ipi6_addr = way.local.v6();  // else whatever is ours
    from.ipi6_ifindex = way.interface;
    info->cmsg_level = SOL_IPV6;
    info->cmsg_type = IPV6_PKTINFO;
    info->cmsg_len = CMSG_LEN(sizeof from);
    std::memcpy(CMSG_DATA(info), &from, sizeof from);
  }
  if (sendmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) out_ += size;
}

void UdpPort::Work() {}

void UdpPort::EndThose(const Judge& judge) {
  for (auto client = clients_.begin(); client != clients_.end();) {
    client = judge(*(*client)->route) ? Dismiss(client) : std::next(client);
  }
}

void UdpPort::End() {
  EndThose([](const Route&) { return true; });
  socket_.Reset();
  route_.reset();
}

void UdpPort::Tick() {
  while (!clients_.empty() && engine_->now() - clients_.front()->last >= kIdleMs) Dismiss(clients_.begin());
}

}  // namespace cleat_forwarder
