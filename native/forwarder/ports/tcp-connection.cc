// tcp-connection.cc: see tcp-connection.h.
#include "tcp-connection.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "../keep.h"

namespace cleat_forwarder {

namespace {

// How many times data is moved before others have their turn.
constexpr int kRounds = 16;
// How long the delivery of the last data from a broken end may take.
constexpr int kPartingMs = 2000;
// A side that has vanished is noticed after four minutes, as long as a half-closed side may be silent. The defaults
// take two hours (tcp(7)).
constexpr int kKeepIdleS = 120;
constexpr int kKeepIntervalS = 30;
constexpr int kKeepProbes = 4;

void Set(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof value);
}

// Binds to the client's own address, with `port` also to its port, otherwise to any that is free.
bool BindTo(int socket, const Endpoint& client, bool port) {
  bool v4 = client.family() == AF_INET;
  Set(socket, SOL_SOCKET, SO_MARK, static_cast<int>(kMark));
  // The container may still listen on a port that a client happens to come from.
  Set(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  Set(socket, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1);
  Endpoint from = client;
  if (!port) {
    from.set_port(0);
    Set(socket, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);  // chosen by connect(2), which knows what is taken
  }
  return bind(socket, from.data(), from.size()) == 0;
}

// Returns true if another source may do (bind(2), connect(2)).
bool IsAboutAddress(int error) {
  return error == EADDRINUSE || error == EADDRNOTAVAIL || error == EACCES || error == EPERM || error == EINVAL;
}

enum class From { kClient, kClientAddress, kOwn };

Failure DialFrom(From source, const Route& route, const Endpoint& client, UniqueFd* out) {
  if (Failure failure = route.place->MakeSocket(route.to.family(), SOCK_STREAM, out)) return failure;
  if (source != From::kOwn && !BindTo(out->get(), client, source == From::kClient)) return {errno, "bind"};
  if (connect(out->get(), route.to.data(), route.to.size()) == 0 || errno == EINPROGRESS) return {};
  return {errno, "connect"};
}

}  // namespace

Failure Connection::Dial(const Route& route, const Endpoint& client, UniqueFd* out) {
  bool keep = client.family() == route.to.family() && route.place->keeps(client.family()) && !client.IsLoopback() &&
              !client.IsLinkLocal();
  if (keep) {
    // The port may be taken in there, or need a privilege. If even the address cannot be had, a connection from the
    // container's own is better than none.
    for (From source : {From::kClient, From::kClientAddress}) {
      Failure failure = DialFrom(source, route, client, out);
      if (!IsAboutAddress(failure.error)) return failure;
    }
  }
  return DialFrom(From::kOwn, route, client, out);
}

void Connection::Reset(UniqueFd* socket) {
  linger now{1, 0};
  setsockopt(socket->get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  socket->Reset();
}

Connection::Connection(Lane* lane, size_t number, std::shared_ptr<Traffic> traffic, std::shared_ptr<const Route> route,
                       Claim claim, UniqueFd client, UniqueFd inside)
    : lane_(lane),
      engine_(lane->engine()),
      number_(number),
      traffic_(std::move(traffic)),
      route_(std::move(route)),
      claim_(std::move(claim)) {
  lane_->load++;
  traffic_->connections++;
  ends_[kClient].socket = std::move(client);
  ends_[kInside].socket = std::move(inside);
  for (int i : {kClient, kInside}) {
    ends_[i].of = this;
    ends_[i].which = i;
  }
}

void Connection::Begin(std::unique_ptr<Connection> connection) {
  Connection* self = connection.release();
  std::list<Connection*>& held = self->traffic_->held[self->number_];
  self->self_ = held.insert(held.end(), self);
  self->engine_->open++;
  Dress(self->ends_[kInside].socket);
  self->Watch();
}

void Connection::Dress(const UniqueFd& socket) {
  Set(socket.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  Set(socket.get(), SOL_TCP, TCP_KEEPIDLE, kKeepIdleS);
  Set(socket.get(), SOL_TCP, TCP_KEEPINTVL, kKeepIntervalS);
  Set(socket.get(), SOL_TCP, TCP_KEEPCNT, kKeepProbes);
  // Data is sent on at once, not held back for more (TCP_NODELAY).
  Set(socket.get(), SOL_TCP, TCP_NODELAY, 1);
}

void Connection::Watch() {
  for (End& end : ends_) {
    if (end.watched) continue;
    // ENOMEM, or ENOSPC: fs.epoll.max_user_watches (epoll(7)).
    if (engine_->Watch(end.socket.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &end) != 0) {
      return engine_->Later(this);
    }
    end.watched = true;
  }
  watched_ = true;
}

void Connection::OnReady(int which, uint32_t events) {
  if (buried()) return;
  End& end = ends_[which];
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end.readable = true;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) end.writable = true;
  if (events & EPOLLERR) end.failed = true;
  if (events & (EPOLLRDHUP | EPOLLHUP)) end.closed = true;
  if (state_ == State::kConnecting) {
    if (which == kClient ? end.failed : !Connected()) return Abort();
    if (which == kClient) return;
    if (!(events & EPOLLOUT)) return;
    state_ = State::kOpen;
  }
  Step();
}

// Returns false if the connection has failed.
bool Connection::Connected() {
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(ends_[kInside].socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

void Connection::Step() {
  if (buried() || state_ == State::kConnecting) return;
  if (state_ == State::kParting) return Part();
  bool more = false;
  bool starved = false;
  for (int i : {kClient, kInside}) {
    Pumped result = Pump(i);
    if (state_ == State::kParting) return Part();
    more |= result == Pumped::kMore;
    starved |= result == Pumped::kNoPipe;
  }
  if (ways_[kClient].done && ways_[kInside].done) return Finish();
  for (int i : {kClient, kInside}) {
    // Nobody reads from or writes to an end that has sent all it had, so its failure is read here.
    int error = 0;
    socklen_t size = sizeof error;
    if (!ends_[i].failed || ends_[i].readable) continue;
    ends_[i].failed = false;
    if (getsockopt(ends_[i].socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) continue;
    Break(i);
    return Part();
  }
  bool half_closed = ends_[kClient].closed || ends_[kInside].closed;
  if (half_closed && (moved_ || !noted_)) Note();
  moved_ = false;
  if (more) engine_->Again(this);
  if (starved) engine_->Later(this);
}

void Connection::Note() {
  std::list<Connection*>& all = lane_->half_closed;
  if (noted_) {
    all.splice(all.end(), all, place_);
  } else {
    place_ = all.insert(all.end(), this);
    noted_ = true;
  }
  moved_at_ = engine_->now();
}

bool Connection::EndIfIdle(int64_t patience_ms) {
  if (engine_->now() - moved_at_ < patience_ms) return false;
  int unsent = 0;
  for (const End& end : ends_) {
    int of_end = 0;
    if (ioctl(end.socket.get(), SIOCOUTQ, &of_end) == 0) unsent += of_end;
  }
  // A slow reader still takes what the buffers have.
  if (unsent != std::exchange(unsent_, unsent)) {
    Note();
  } else {
    Abort();
  }
  return true;
}

Connection::Pumped Connection::Pump(int i) {
  Way& way = ways_[i];
  End& from = ends_[i];
  End& to = ends_[1 - i];
  std::atomic<uint64_t>& count = i == kClient ? traffic_->in : traffic_->out;
  if (way.done) {
    from.readable = false;
    return Pumped::kWaits;
  }
  for (int round = 0; round < kRounds; ++round) {
    if (way.held > 0) {
      if (!to.writable) return Pumped::kWaits;
      ssize_t n =
          splice(way.pipe.out.get(), nullptr, to.socket.get(), nullptr, way.held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n > 0) {
        way.held -= static_cast<size_t>(n);
        moved_ = true;
        count.fetch_add(static_cast<uint64_t>(n), std::memory_order_relaxed);
      } else if (n < 0 && errno == EAGAIN) {
        to.writable = false;
      } else if (n == 0 || errno != EINTR) {
        Break(1 - i);
        return Pumped::kWaits;
      }
      continue;
    }
    if (way.ended) {
      ReleasePipe(&way);
      if (state_ == State::kOpen) shutdown(to.socket.get(), SHUT_WR);
      way.done = true;
      from.readable = false;
      return Pumped::kWaits;
    }
    if (!from.readable) {
      ReleasePipe(&way);
      return Pumped::kWaits;
    }
    if (!way.pipe.in && !engine_->TakePipe(&way.pipe)) return Pumped::kNoPipe;
    // The pipe is empty, so if this would block, the socket has nothing.
    ssize_t n =
        splice(from.socket.get(), nullptr, way.pipe.in.get(), nullptr, kPipeSize, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n > 0) {
      way.held = static_cast<size_t>(n);
      moved_ = true;
    } else if (n == 0) {
      way.ended = true;
    } else if (errno == EAGAIN) {
      from.readable = false;
    } else if (errno != EINTR) {
      Break(i);
      return Pumped::kWaits;
    }
  }
  return Pumped::kMore;
}

void Connection::ReleasePipe(Way* way) {
  if (!way->pipe.in) return;
  engine_->GivePipe(std::exchange(way->pipe, {}));
}

void Connection::Break(int which) {
  if (state_ == State::kParting) {
    // The other end is broken too, or this one has nothing more.
    if (which != broken_) parting_until_ = 0;
    ways_[which].ended = true;
    ends_[which].readable = false;
    return;
  }
  state_ = State::kParting;
  broken_ = which;
  parting_until_ = engine_->now() + kPartingMs;
  ends_[which].readable = !ways_[which].ended;
}

void Connection::Part() {
  Pumped result = Pump(broken_);
  int other = ends_[1 - broken_].socket.get();
  int unsent = 0;
  // A reset discards what is not delivered yet (SIOCOUTQ, tcp(7)).
  bool delivered = ways_[broken_].held == 0 && !ends_[broken_].readable && result == Pumped::kWaits &&
                   (ioctl(other, SIOCOUTQ, &unsent) != 0 || unsent == 0);
  if (delivered || engine_->now() >= parting_until_) return Abort();
  if (result == Pumped::kMore) return engine_->Again(this);
  engine_->Later(this);
}

void Connection::Abort() {
  for (End& end : ends_) Reset(&end.socket);
  Over();
}

void Connection::Finish() {
  for (End& end : ends_) end.socket.Reset();
  Over();
}

void Connection::Over() {
  for (Way& way : ways_) {
    if (!way.pipe.in) continue;
    if (way.held == 0) {
      ReleasePipe(&way);
    } else {
      engine_->SpoilPipe(std::move(way.pipe));
    }
  }
  claim_.reset();
  route_.reset();
  engine_->open--;
  if (noted_) lane_->half_closed.erase(place_);
  traffic_->held[number_].erase(self_);
  traffic_->connections--;
  lane_->load--;
  engine_->Bury(std::unique_ptr<Worker>(this));
}

}  // namespace cleat_forwarder
