// udp-port.h: a published UDP port: a flow for each client, with a socket inside, so that answers find their way back.
//
// Guarantees: an answer leaves from the address and port that the client has sent to. A flow that is silent for
// Limits::flow_idle, both ways, is dropped. When there is no room for one more (budget.h), the port drops its flow that
// was silent longest: a new client is always served. A port with a new target sends the next datagrams there; answers
// to earlier ones still arrive, until the client sends again.
//
// Datagrams of the server are passed on if they come from the port that the client talks to. One from another of its
// ports is passed on, too, if it is the first answer to the client's last datagram; the client then talks to that port
// (TFTP: RFC 1350, 4). The client sees one address and port all the time. When nobody listens at that other port any
// more, the client talks to the published one again.
// Only datagrams of the container itself are accepted. A filter on the socket drops everything that has not come over
// the container's loopback interface, as everything does that is sent to an own address. The source address must also
// be the one that the port leads to. So neighbours of the container cannot answer for it, not even with a forged
// source, and nobody can choose the client.
//
// Limits: the container sees its own address as that of all clients (keep.h). A datagram that does not fit into a
// socket's buffer is lost, as UDP is. ICMP errors are not passed on. Processes that share the container's address may
// answer for each other while an answer is outstanding, as behind every NAT with address-dependent filtering (RFC 4787,
// REQ-8).
#pragma once

#include <list>
#include <map>
#include <optional>

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
  size_t connections() const override { return flows_.size(); }
  bool keeps_source() const override { return false; }
  uint64_t bytes_in() const override { return in_; }
  uint64_t bytes_out() const override { return out_; }

 protected:
  Failure Prepare() override;
  Failure Begin() override { return {}; }

 private:
  // The client, and the address of ours that it sends to; the port is always the published one.
  struct Way {
    Endpoint client;
    Endpoint local;
    uint32_t interface = 0;  // for addresses that mean something on one link alone
    bool operator<(const Way& other) const;
  };
  struct Flow : Source, Worker {
    Flow(UdpPort* of, const Way& by, std::shared_ptr<const Route> to)
        : port(of),
          way(by),
          route(std::move(to)),
          claim(std::in_place, route->share, Protocol::kUdp),
          peer(route->to) {}
    void Ready(uint32_t events) override;
    void Work() override {}

    UdpPort* const port;
    const Way way;
    std::shared_ptr<const Route> route;
    std::optional<Claim> claim;  // released with the socket
    Endpoint peer;               // the server's end that the client talks to
    bool waiting = false;        // for an answer
    UniqueFd socket;
    int64_t last = 0;
  };
  // The flow that was active longest ago comes first.
  using Flows = std::list<std::unique_ptr<Flow>>;

  void FromClient(const Way& way, const char* data, size_t size);
  void FromInside(Flow* flow);
  // Returns true if the datagram is for the client.
  bool IsHeard(Flow* flow, const Endpoint& from);
  // Returns nullptr if there are no descriptors left, or if the namespace is gone.
  Flow* Welcome(const Way& way);
  void Heard(Flows::iterator flow);
  Flows::iterator Dismiss(Flows::iterator flow);
  void Answer(const Way& way, const char* data, size_t size);

  Flows flows_;
  std::map<Way, Flows::iterator> by_way_;
  uint64_t in_ = 0;
  uint64_t out_ = 0;
};

}  // namespace cleat_forwarder
