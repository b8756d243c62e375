// tcp-port.cc: see tcp-port.h.
#include "tcp-port.h"

#include <sys/socket.h>

#include <cerrno>

namespace cleat_forwarder {

namespace {

constexpr int kAtOnce = 64;
// Cut to net.core.somaxconn by the kernel (listen(2)).
constexpr int kBacklog = 4096;

// What passes when others have let go of something (accept(2)).
bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

}  // namespace

Failure TcpPort::Prepare() {
  constexpr int kOn = 1;
  // Connections of an earlier listener that linger do not keep the port (socket(7)); a listener does.
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn) != 0) return {errno, "setsockopt"};
  return {};
}

Failure TcpPort::Begin() {
  if (listen(socket_.get(), kBacklog) != 0) return {errno, "listen"};
  return {};
}

bool TcpPort::keeps_source() const {
  return key().at.family() == route_->to.family() && route_->place->keeps(route_->to.family());
}

void TcpPort::Ready(uint32_t) {
  if (buried()) return;
  for (int i = 0; i < kAtOnce; ++i) {
    if (!engine_->HasRoom(newest_)) return Pause();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    UniqueFd client(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) {
      if (errno == EAGAIN) return;
      if (IsShortage(errno)) return Pause();
      continue;  // that one has gone meanwhile (accept(2), "Error handling")
    }
    newest_ = client.get();
    std::optional<Endpoint> from = Endpoint::From(storage);
    if (from && !TakeIn(std::move(client), *from)) return Pause();
  }
}

bool TcpPort::TakeIn(UniqueFd client, const Endpoint& from) {
  UniqueFd inside;
  Failure failure = Connection::Dial(*route_, from, &inside);
  if (failure) {
    Connection::Reset(&client);
    return !IsShortage(failure.error);
  }
  size_t number = lanes_->Idlest();
  Lane& lane = (*lanes_)[number];
  auto* connection = new Connection(&lane, number, traffic_, route_, std::move(client), std::move(inside));
  lane.Post([connection] { Connection::Begin(std::unique_ptr<Connection>(connection)); });
  return true;
}

void TcpPort::Pause() {
  engine_->Rewatch(socket_.get(), 0, this);
  engine_->Later(this);
}

void TcpPort::Work() {
  engine_->Rewatch(socket_.get(), EPOLLIN, this);
}

void TcpPort::EndThose(const Judge& judge) {
  if (traffic_->connections == 0) return;
  for (size_t i = 0; i < lanes_->count(); ++i) {
    (*lanes_)[i].Call([this, &judge, i] {
      std::list<Connection*>& held = traffic_->held[i];
      for (auto next = held.begin(); next != held.end();) {
        Connection* connection = *next++;
        if (judge(connection->route())) connection->Abort();
      }
    });
  }
}

void TcpPort::End() {
  EndThose([](const Route&) { return true; });
  socket_.Reset();
  route_.reset();
}

}  // namespace cleat_forwarder
