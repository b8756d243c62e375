// tcp-port.h: a published TCP port: takes clients in, and ends their connections with it.
//
// Guarantees: a bounded number of clients is taken in a turn. Out of descriptors or memory, none is taken for kRetryMs:
// they wait in the backlog (one is reset when the shortage is the machine's).
#pragma once

#include "port.h"
#include "tcp-connection.h"

namespace cleat_forwarder {

class TcpPort : public Port {
 public:
  TcpPort(Engine* engine, Lanes* lanes, const Key& key, Route route)
      : Port(engine, key, std::move(route)), lanes_(lanes), traffic_(std::make_shared<Traffic>(lanes->count())) {}

  void Ready(uint32_t events) override;
  void Work() override;
  void EndThose(const Judge& judge) override;
  void End() override;
  size_t connections() const override { return traffic_->connections; }
  uint64_t bytes_in() const override { return traffic_->in; }
  uint64_t bytes_out() const override { return traffic_->out; }
  bool keeps_source() const override;

 protected:
  Failure Prepare() override;
  Failure Begin() override;

 private:
  // False when there are no descriptors left.
  bool TakeIn(UniqueFd client, const Endpoint& from);
  void Pause();

  Lanes* const lanes_;
  const std::shared_ptr<Traffic> traffic_;
  int newest_ = 0;  // descriptor of the last client
};

}  // namespace cleat_forwarder
