// port.h: a published port: its socket outside, and where it leads.
//
// Guarantees: Open either leaves a port that takes connections, or nothing; on all addresses of a family that the
// kernel does not have there are none to take, and no socket. Led elsewhere, a port keeps its socket: no dial is
// refused meanwhile. Ended, it ends everything that came through it.
#pragma once

#include <cerrno>
#include <functional>
#include <memory>
#include <string>

#include "endpoint.h"
#include "engine.h"
#include "lane.h"
#include "place.h"

namespace cleat_forwarder {

// Whether an error passes once others have closed descriptors (accept(2), socket(2)).
inline bool IsShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

class Port : public Source, public Worker {
 public:
  static std::unique_ptr<Port> Make(Engine* engine, Lanes* lanes, const Key& key, Route route);

  const Key& key() const { return key_; }
  const Route& route() const { return *route_; }

  // Bind, and be called for what comes. `giving_way`: ports of ours that will be closed when this one is there, but
  // hold its address until then.
  Failure Open(const std::vector<Port*>& giving_way);

  // From now on. With another owner nothing counts yet that the port has for the former one.
  void Lead(Route route);
  // End all connections that `judge` says so of, by where they lead.
  using Judge = std::function<bool(const Route&)>;
  virtual void EndThose(const Judge& judge) = 0;
  // The last call: everything is ended and closed, and the way let go of.
  virtual void End() = 0;
  // Once a second, while there are connections.
  virtual void Tick() {}

  virtual size_t connections() const = 0;
  // Whether clients wait, because there is no room for more connections.
  virtual bool full() const { return false; }
  // Whether clients of the port's family keep their addresses.
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
