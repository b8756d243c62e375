// tcp-connection.h: one client of a TCP port: a socket outside, one inside, and the bytes that flow between them.
//
// Guarantees: bytes pass from socket to socket through a pipe (splice(2)), without being copied to this process. Each
// direction ends by itself: the end of data is passed on as such (shutdown(2)) after the last byte. An end that is
// broken (reset, timed out) breaks the other, after the last data that it sent was delivered, or after kPartingMs. A
// side that does not read holds up nobody but its own sender. There is no time limit on silence while both directions
// are open: keep-alive probes find a side that has vanished, because the other side cannot see it. Once one side has
// closed its direction, the connection is reset when no byte has moved for Limits::half_closed, neither through this
// process nor out of the sockets' buffers: a transfer that goes on, however slowly, is not ended.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <vector>

#include "lane.h"
#include "place.h"

namespace cleat_forwarder {

// The common counters of one port's connections. Their lanes write them, others read them.
class Connection;
struct Traffic {
  explicit Traffic(size_t lanes) : held(lanes) {}

  std::atomic<uint64_t> in = 0;   // to the container
  std::atomic<uint64_t> out = 0;  // from it
  std::atomic<size_t> connections = 0;
  // The connections of each lane; only that lane may touch its list.
  std::vector<std::list<Connection*>> held;
};

class Connection : public Worker {
 public:
  // Makes a socket inside that connects to the route's target, from the client's own address if possible.
  static Failure Dial(const Route& route, const Endpoint& client, UniqueFd* out);
  // Close with a reset instead of an end (SO_LINGER, socket(7)).
  static void Reset(UniqueFd* socket);
  // Sets keep-alive probes and no delay (TCP_NODELAY). Sockets of clients inherit these from the listening one.
  static void Dress(const UniqueFd& socket);

  Connection(Lane* lane, size_t number, std::shared_ptr<Traffic> traffic, std::shared_ptr<const Route> route,
             Claim claim, UniqueFd client, UniqueFd inside);

  // From here on only the lane may call. The connection owns itself until it is over, which may be at once.
  static void Begin(std::unique_ptr<Connection> connection);
  const Route& route() const { return *route_; }

  void Work() override { watched_ ? Step() : Watch(); }
  // Resets both sides at once.
  void Abort();
  // Ends the lane's first half-closed connection if it is idle; false when its time has not come yet.
  bool EndIfIdle(int64_t patience_ms);

 private:
  enum class State { kConnecting, kOpen, kParting };
  static constexpr int kClient = 0;
  static constexpr int kInside = 1;

  // Ready is called once for each change (EPOLLET): readable and writable hold until a call says otherwise.
  struct End : Source {
    void Ready(uint32_t events) override { of->OnReady(which, events); }

    Connection* of = nullptr;
    int which = 0;
    UniqueFd socket;
    bool readable = true;
    bool writable = true;
    bool failed = false;
    bool closed = false;  // it sends nothing more
    bool watched = false;
  };

  // One direction, from one end to the other.
  struct Way {
    Pipe pipe;
    size_t held = 0;     // bytes in the pipe
    bool ended = false;  // nothing more will be read
    bool done = false;   // and that was passed on to the other end
  };

  enum class Pumped { kWaits, kMore, kNoPipe };

  // Tries again later if there is no memory for it.
  void Watch();
  void OnReady(int which, uint32_t events);
  bool Connected();
  void Step();
  Pumped Pump(int i);
  void ReleasePipe(Way* way);
  // Moves to the end of the half-closed ones: data has moved, or the first direction was closed.
  void Note();
  // Marks an end as broken.
  void Break(int which);
  void Part();
  // Both directions are done: closes both sides.
  void Finish();
  void Over();

  Lane* const lane_;
  Engine* const engine_;  // the lane's
  const size_t number_;   // of the lane
  const std::shared_ptr<Traffic> traffic_;
  std::shared_ptr<const Route> route_;
  std::optional<Claim> claim_;  // released with the sockets
  std::list<Connection*>::iterator self_;
  bool watched_ = false;
  End ends_[2];
  Way ways_[2];  // ways_[i] is from ends_[i]
  State state_ = State::kConnecting;
  int broken_ = 0;             // kParting: which end
  int64_t parting_until_ = 0;  // kParting
  // For a half-closed connection: its place in the list, the last time that data moved, and the bytes unsent at the
  // last look.
  bool moved_ = false;
  bool noted_ = false;
  std::list<Connection*>::iterator place_;
  int64_t moved_at_ = 0;
  int unsent_ = 0;
};

}  // namespace cleat_forwarder
