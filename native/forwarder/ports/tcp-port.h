// tcp-port.h: a published TCP port: accepts clients, and ends their connections when it ends.
//
// Guarantees: a bounded number of clients is accepted in a turn. When there is no room for more (budget.h), or no
// descriptor or memory, clients wait in the backlog of the kernel, and one that was accepted already waits here; none
// is reset. The port looks again every kRetryMs: a connection that ends makes room on another thread, and nothing
// announces the end of a shortage of the machine.
// Limits: the backlog holds kBacklog of them, of net.core.somaxconn at most; more are not answered and try again.
#pragma once

#include <optional>

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
  bool full() const override { return waits_; }

 protected:
  Failure Prepare() override;
  Failure Begin() override;

 private:
  // A client that was accepted, and waits until it can be dialled for.
  struct Client {
    UniqueFd socket;
    Endpoint from;
  };

  // Returns false if the client has to wait.
  bool TakeIn(Client* client);
  void Pause();

  Lanes* const lanes_;
  const std::shared_ptr<Traffic> traffic_;
  std::optional<Client> waiting_;
  bool waits_ = false;
};

}  // namespace cleat_forwarder
