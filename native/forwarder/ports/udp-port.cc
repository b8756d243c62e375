// udp-port.cc: see udp-port.h.
#include "udp-port.h"

#include <linux/errqueue.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <iterator>
#include <tuple>

namespace cleat_forwarder {

namespace {

// Datagrams taken in one call, and calls in one turn.
constexpr unsigned kBatch = 16;
constexpr int kRounds = 4;
// No datagram is larger (RFC 768: 16 bits of length). Memory is used only as far as datagrams fill it.
constexpr size_t kLargest = 65536;

struct Batch {
  char bytes[kBatch][kLargest];
  alignas(cmsghdr) char controls[kBatch][256];
  sockaddr_storage from[kBatch];
  iovec parts[kBatch];
  mmsghdr messages[kBatch];

  // Returns how many came. An error of the socket (from ICMP) is no reason to stop.
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

// Makes a socket that is not connected, so that it receives the server's answers from whichever port.
Failure MakeFlowSocket(const Route& route, UniqueFd* out) {
  const bool v4 = route.to.family() == AF_INET;
  if (Failure failure = route.place->MakeSocket(route.to.family(), SOCK_DGRAM, out)) return failure;
  // Passes only what has come over the loopback interface, the first one of every namespace.
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_IFINDEX)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog filter{std::size(code), code};
  if (setsockopt(out->get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) return {errno, "setsockopt"};
  // A socket that is not connected gets refusals only if it requests them (ip(7), ipv6(7)).
  constexpr int kOn = 1;
  const int level = v4 ? SOL_IP : SOL_IPV6;
  if (setsockopt(out->get(), level, v4 ? IP_RECVERR : IPV6_RECVERR, &kOn, sizeof kOn) != 0)
    return {errno, "setsockopt"};
  Endpoint own = route.to;
  own.set_port(0);
  return bind(out->get(), own.data(), own.size()) == 0 ? Failure{} : Failure{errno, "bind"};
}

bool SendTo(const UniqueFd& socket, const Endpoint& to, const char* data, size_t size) {
  // After an earlier datagram met an error (ECONNREFUSED), the next call returns that error and does nothing else.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (sendto(socket.get(), data, size, MSG_DONTWAIT | MSG_NOSIGNAL, to.data(), to.size()) >= 0) return true;
  }
  return false;
}

// Empties the socket's queue of errors; otherwise the socket would be ready for ever. Returns true if one was a
// refusal. Refusals of this host's own kernel are in the queue when sendto(2) returns.
bool WasRefused(const UniqueFd& socket) {
  bool refused = false;
  for (;;) {
    alignas(cmsghdr) char control[256];
    msghdr header{};
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    if (recvmsg(socket.get(), &header, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return refused;
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
      bool v4 = each->cmsg_level == SOL_IP && each->cmsg_type == IP_RECVERR;
      bool v6 = each->cmsg_level == SOL_IPV6 && each->cmsg_type == IPV6_RECVERR;
      if (v4 || v6) refused |= FromControl<sock_extended_err>(each).ee_errno == ECONNREFUSED;
    }
  }
}

}  // namespace

bool UdpPort::Way::operator<(const Way& other) const {
  return std::tie(client, local, interface) < std::tie(other.client, other.local, other.interface);
}

Failure UdpPort::Prepare() {
  constexpr int kOn = 1;
  bool v4 = key().at.family() == AF_INET;
  // Each datagram then comes with the address that it was sent to (ip(7), ipv6(7)).
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
          reinterpret_cast<sockaddr_in&>(local).sin_addr = info.ipi_spec_dst;  // for a broadcast: ours on that link
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
  Flow* flow = known == by_way_.end() ? Welcome(way) : known->second->get();
  if (flow == nullptr) return;
  Heard(by_way_.find(way)->second);
  flow->waiting = true;
  const Endpoint& published = flow->route->to;
  bool sent = SendTo(flow->socket, flow->peer, data, size);
  if (sent && !(flow->peer == published) && WasRefused(flow->socket)) {
    flow->peer = published;
    sent = SendTo(flow->socket, flow->peer, data, size);
  }
  if (sent) in_ += size;
}

UdpPort::Flow* UdpPort::Welcome(const Way& way) {
  while (!flows_.empty() && !route_->share->HasRoom(Protocol::kUdp)) Dismiss(flows_.begin());
  auto flow = std::make_unique<Flow>(this, way, route_);
  Failure failure = MakeFlowSocket(*route_, &flow->socket);
  // There may be no descriptor left but those that are here. A new flow takes two for a moment.
  while (IsShortage(failure.error) && !flows_.empty()) {
    Dismiss(flows_.begin());
    failure = MakeFlowSocket(*route_, &flow->socket);
  }
  if (failure || engine_->Watch(flow->socket.get(), EPOLLIN, flow.get()) != 0) return nullptr;
  engine_->open++;
  flows_.push_back(std::move(flow));
  by_way_[way] = std::prev(flows_.end());
  return flows_.back().get();
}

void UdpPort::Heard(Flows::iterator flow) {
  (*flow)->last = engine_->now();
  flows_.splice(flows_.end(), flows_, flow);
}

UdpPort::Flows::iterator UdpPort::Dismiss(Flows::iterator flow) {
  by_way_.erase((*flow)->way);
  (*flow)->socket.Reset();
  (*flow)->claim.reset();
  (*flow)->route.reset();
  engine_->open--;
  std::unique_ptr<Flow> gone = std::move(*flow);
  auto next = flows_.erase(flow);
  engine_->Bury(std::move(gone));
  return next;
}

void UdpPort::Flow::Ready(uint32_t events) {
  if (buried()) return;
  if ((events & EPOLLERR) && WasRefused(socket)) peer = route->to;
  port->FromInside(this);
}

void UdpPort::FromInside(Flow* flow) {
  for (int round = 0; round < kRounds; ++round) {
    unsigned count = batch.Receive(flow->socket.get());
    for (unsigned i = 0; i < count; ++i) {
      std::optional<Endpoint> from = Endpoint::From(batch.from[i]);
      if (!from || !IsHeard(flow, *from)) continue;
      Answer(flow->way, batch.bytes[i], batch.messages[i].msg_len);
      Heard(by_way_.find(flow->way)->second);
    }
    if (count < kBatch) return;
  }
}

bool UdpPort::IsHeard(Flow* flow, const Endpoint& from) {
  bool new_peer = !(from == flow->peer);
  if (new_peer) {
    Endpoint there = from;
    there.set_port(flow->route->to.port());
    if (!flow->waiting || !(there == flow->route->to)) return false;
    flow->peer = from;
  }
  flow->waiting = false;
  return true;
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
    if (!way.local.IsMulticast()) from.ipi6_addr = way.local.v6();  // otherwise any address of ours
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
  for (auto flow = flows_.begin(); flow != flows_.end();) {
    flow = judge(*(*flow)->route) ? Dismiss(flow) : std::next(flow);
  }
}

void UdpPort::End() {
  EndThose([](const Route&) { return true; });
  socket_.Reset();
  route_.reset();
}

void UdpPort::Tick() {
  const int64_t idle = route_->share->owner->budget->flow_idle_ms();
  while (!flows_.empty() && engine_->now() - flows_.front()->last >= idle) Dismiss(flows_.begin());
}

}  // namespace cleat_forwarder
