// tcp-port.h: a published TCP port: takes clients in, and ends their connections with it.
//
// Guarantees: a bounded number of clients is taken in a turn. Out of descriptors or memory, none is taken for kRetryMs:
// they wait in the backlog (one is reset when the shortage is the machine's).
#pragma once

#include <list>

#include "port.h"

namespace cleat_forwarder {

class Connection;

class TcpPort : public Port {
 public:
  TcpPort(Engine* engine, const Key& key, Route route) : Port(engine, key, std::move(route)) {}
  ~TcpPort() override;

  void Ready(uint32_t events) override;
  void Work() override;
  void EndThose(const Judge& judge) override;
  void End() override;
  size_t connections() const override { return connections_.size(); }
  bool keeps_source() const override;

  // Called by a connection that is over.
  void Forget(std::list<Connection*>::iterator connection) { connections_.erase(connection); }

 protected:
  Trouble Prepare() override;
  Trouble Begin() override;

 private:
  // False when there are no descriptors left.
  bool TakeIn(UniqueFd client, const Endpoint& from);
  void Pause();

  std::list<Connection*> connections_;
  int newest_ = 0;  // descriptor of the last client
};

}  // namespace cleat_forwarder
