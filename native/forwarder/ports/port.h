// port.h: a published port: its socket outside, and its target.
//
// Guarantees: Open either leaves a port that takes connections, or nothing. A family that the kernel does not have
// needs no socket for all its addresses: nobody can connect to them. A port that gets another target keeps its socket,
// so that no dial is refused meanwhile. A port that ends also ends everything that came through it.
#pragma once

#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "../endpoint.h"
#include "engine.h"
#include "lane.h"
#include "place.h"

namespace cleat_forwarder {

// Returns true if an error passes once others have closed descriptors (accept(2), socket(2)).
inline bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

class Port : public Source, public Worker {
 public:
  static std::unique_ptr<Port> Make(Engine* engine, Lanes* lanes, const Key& key, Route route);

  const Key& key() const { return key_; }
  const Route& route() const { return *route_; }

  // Binds the socket and watches it. `giving_way`: ports of ours that will be closed when this one is there, but hold
  // its address until then.
  Failure Open(const std::vector<Port*>& giving_way);

  // Sets the target from now on. With another owner, nothing that the port has for the former one counts against the
  // new one.
  void Lead(Route route);
  // Ends all connections for whose target `judge` returns true.
  using Judge = std::function<bool(const Route&)>;
  virtual void EndThose(const Judge& judge) = 0;
  // The last call: ends and closes everything, and releases the target.
  virtual void End() = 0;
  // Called once a second while there are connections.
  virtual void Tick() {}

  virtual size_t connections() const = 0;
  // True if clients wait, because there is no room for more connections.
  virtual bool full() const { return false; }
  // True if clients of the port's family keep their addresses.
  virtual bool keeps_source() const = 0;
  virtual uint64_t bytes_in() const = 0;   // to the container
  virtual uint64_t bytes_out() const = 0;  // from it

 protected:
  Port(Engine* engine, const Key& key, Route route) : engine_(engine), key_(key) { Lead(std::move(route)); }
  virtual Failure Prepare() = 0;
  virtual Failure Begin() = 0;

  Engine* const engine_;
  UniqueFd socket_;
  std::shared_ptr<const Route> route_;

 private:
  const Key key_;
};

}  // namespace cleat_forwarder
