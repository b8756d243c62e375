// tcp-port.cc: see tcp-port.h.
#include "tcp-port.h"

#include <sys/socket.h>

#include <cerrno>

namespace cleat_forwarder {

namespace {

constexpr int kAtOnce = 64;
// The kernel cuts it to net.core.somaxconn (listen(2)).
constexpr int kBacklog = 4096;

}  // namespace

Failure TcpPort::Prepare() {
  constexpr int kOn = 1;
  // Lingering connections of an earlier listener do not keep the port (socket(7)); a listener does.
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn) != 0) return {errno, "setsockopt"};
  Connection::Dress(socket_);
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
    if (!route_->share->HasRoom(Protocol::kTcp)) return Pause();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    UniqueFd client(accept4(socket_.get(), reinterpret_cast<sockaddr*>(&storage), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client) {
      if (errno == EAGAIN) return;
      if (IsShortage(errno)) return Pause();
      continue;  // that one has gone meanwhile (accept(2), "Error handling")
    }
    std::optional<Endpoint> from = Endpoint::From(storage);
    if (!from) {
      Connection::Reset(&client);
      continue;
    }
    waiting_.emplace(Client{std::move(client), *from});
    if (!TakeIn(&*waiting_)) return Pause();
    waiting_.reset();
  }
}

bool TcpPort::TakeIn(Client* client) {
  UniqueFd inside;
  if (Failure failure = Connection::Dial(*route_, client->from, &inside)) {
    if (IsShortage(failure.error)) return false;
    Connection::Reset(&client->socket);
    return true;
  }
  size_t number = lanes_->Idlest();
  Lane& lane = (*lanes_)[number];
  auto* connection = new Connection(&lane, number, traffic_, route_, Claim(route_->share, Protocol::kTcp),
                                    std::move(client->socket), std::move(inside));
  lane.Post([connection] { Connection::Begin(std::unique_ptr<Connection>(connection)); });
  return true;
}

void TcpPort::Pause() {
  waits_ = true;
  engine_->Rewatch(socket_.get(), 0, this);
  engine_->Later(this);
}

void TcpPort::Work() {
  if (waiting_ && !TakeIn(&*waiting_)) return engine_->Later(this);
  waiting_.reset();
  if (!route_->share->HasRoom(Protocol::kTcp)) return engine_->Later(this);
  waits_ = false;
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
  if (waiting_) Connection::Reset(&waiting_->socket);
  waiting_.reset();
  socket_.Reset();
  route_.reset();
}

}  // namespace cleat_forwarder
