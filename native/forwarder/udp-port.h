// udp-port.h: a published UDP port: a socket inside for each client, so that answers find their way back.
//
// Guarantees: an answer leaves from the address that the client has spoken to. A client that is silent for kIdleMs,
// both ways, is forgotten; of kMaxClients on one port, the one that was silent longest makes room for a new one. Led
// elsewhere, the port sends what comes next there; answers to what went before still arrive, until the client speaks
// again.
// Limits: the container sees its own address as that of all clients (keep.h). What does not fit into a socket's buffer
// is lost, as UDP is. ICMP errors are not passed on.
#pragma once

#include <list>
#include <map>
#include <string>

#include "port.h"

namespace cleat_forwarder {

class UdpPort : public Port {
 public:
  UdpPort(Engine* engine, const Key& key, Route route) : Port(engine, key, std::move(route)) {}

  void Ready(uint32_t events) override;
  void Work() override;
  void EndThose(const Judge& judge) override;
  void End() override;
  void Tick() override;
  size_t connections() const override { return clients_.size(); }
  bool keeps_source() const override { return false; }
  uint64_t bytes_in() const override { return in_; }
  uint64_t bytes_out() const override { return out_; }

 protected:
  Failure Prepare() override;
  Failure Begin() override { return {}; }

 private:
  // Who speaks, and to which of our addresses (its port is the port's own).
  struct Way {
    Endpoint client;
    Endpoint local;
    uint32_t interface = 0;  // for addresses that mean something on one link alone
    bool operator<(const Way& other) const;
  };
  struct Client : Source, Worker {
    void Ready(uint32_t events) override;
    void Work() override {}

    UdpPort* port = nullptr;
    Way way;
    std::shared_ptr<const Route> route;
    UniqueFd socket;
    int64_t last = 0;
  };
  // The one that was heard of longest ago comes first.
  using Clients = std::list<std::unique_ptr<Client>>;

  void FromClient(const Way& way, const char* data, size_t size);
  void FromInside(Client* client);
  // nullptr when there are no descriptors left, or the namespace is gone.
  Client* Welcome(const Way& way);
  void Heard(Clients::iterator client);
  Clients::iterator Dismiss(Clients::iterator client);
  void Answer(const Way& way, const char* data, size_t size);

  Clients clients_;
  std::map<Way, Clients::iterator> by_way_;
  uint64_t in_ = 0;
  uint64_t out_ = 0;
};

}  // namespace cleat_forwarder
