// port-probe.cc: see port-probe.h.
#include "port-probe.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "../fd.h"
#include "../node/input.h"
#include "port-holder.h"

namespace cleat {

namespace {

struct Probe {
  int protocol = IPPROTO_TCP;
  IpAddress address;
  uint16_t port = 0;
};

struct Refusal {
  uint32_t index = 0;
  int error = 0;
  HeldPort held;
};

// Tries to bind a port. error: the errno of bind, 0 if the port is free.
Failure TryBind(const Probe& probe, int* error) {
  *error = 0;
  int type = probe.protocol == IPPROTO_UDP ? SOCK_DGRAM : SOCK_STREAM;
  UniqueFd fd(socket(probe.address.family, type | SOCK_CLOEXEC, probe.protocol));
  if (!fd) {
    // This kernel lacks the protocol, so nobody can hold its ports.
    bool unknown = errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT || errno == EAFNOSUPPORT;
    return unknown ? Failure{} : Failure{errno, "socket", "port " + std::to_string(probe.port)};
  }
  int on = 1;
  // With SO_REUSEADDR, bind fails against a listening socket but not against TIME_WAIT (inet_csk_bind_conflict). For
  // udp it would let us in beside a holder that set it as well.
  if (type == SOCK_STREAM) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_storage name{};
  socklen_t size;
  if (probe.address.family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&name);
    in->sin_family = AF_INET;
    in->sin_port = htons(probe.port);
    memcpy(&in->sin_addr, probe.address.bytes.data(), sizeof in->sin_addr);
    size = sizeof *in;
  } else {
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&name);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(probe.port);
    memcpy(&in6->sin6_addr, probe.address.bytes.data(), sizeof in6->sin6_addr);
    size = sizeof *in6;
  }
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&name), size) != 0) *error = errno;
  return {};
}

class ProbeJob : public Job {
 public:
  ProbeJob(Napi::Env env, std::vector<Probe> probes) : Job(env), probes_(std::move(probes)) {}

  Failure Execute(Worker&) override {
    for (size_t i = 0; i < probes_.size(); i++) {
      int error;
      if (Failure failure = TryBind(probes_[i], &error)) return failure;
      if (error != 0) refusals_.push_back({static_cast<uint32_t>(i), error, {}});
    }
    FindThem();
    return {};
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array array = Napi::Array::New(env, refusals_.size());
    for (size_t i = 0; i < refusals_.size(); i++) {
      const Refusal& refusal = refusals_[i];
      bool known = refusal.held.pid != 0;
      Napi::Object object = Napi::Object::New(env);
      object.Set("index", refusal.index);
      object.Set("code", ErrnoName(refusal.error));
      object.Set("pid", known ? Napi::Value(Napi::Number::New(env, refusal.held.pid)) : env.Null());
      object.Set("command", known ? Napi::Value(Napi::String::New(env, refusal.held.command)) : env.Null());
      array.Set(static_cast<uint32_t>(i), object);
    }
    return array;
  }

 private:
  void FindThem() {
    std::vector<HeldPort> held;
    std::vector<Refusal*> whose;
    for (Refusal& refusal : refusals_) {
      const Probe& probe = probes_[refusal.index];
      if (!MayBeHeld(refusal.error) || probe.protocol == IPPROTO_SCTP) continue;
      held.push_back({probe.protocol == IPPROTO_UDP, probe.address, probe.port});
      whose.push_back(&refusal);
    }
    if (!held.empty()) FindHolders(held);
    for (size_t i = 0; i < held.size(); i++) whose[i]->held = std::move(held[i]);
    // Drops a low port that we may not bind, and that nobody holds.
    auto nobody = [](const Refusal& refusal) { return refusal.error == EACCES && refusal.held.inode == 0; };
    refusals_.erase(std::remove_if(refusals_.begin(), refusals_.end(), nobody), refusals_.end());
  }

  // EACCES: the port is below net.ipv4.ip_unprivileged_port_start, and the process lacks CAP_NET_BIND_SERVICE.
  static bool MayBeHeld(int error) { return error == EADDRINUSE || error == EACCES; }

  const std::vector<Probe> probes_;
  std::vector<Refusal> refusals_;
};

Probe ParseProbe(Input& input, Napi::Object from) {
  Probe probe;
  std::string protocol = input.Text(from, "protocol");
  if (protocol == "udp") {
    probe.protocol = IPPROTO_UDP;
  } else if (protocol == "sctp") {
    probe.protocol = IPPROTO_SCTP;
  } else if (protocol != "tcp") {
    input.WrongType("protocol", "tcp, udp or sctp");
  }
  uint32_t family = input.Uint(from, "family");
  if (family != 4 && family != 6) input.WrongType("family", "4 or 6");
  probe.address.family = family == 6 ? AF_INET6 : AF_INET;
  if (!input.Text(from, "address").empty()) {
    IpAddress address = input.Address(from, "address");
    if (address.family != probe.address.family) input.Invalid("inet_pton", input.Text(from, "address"));
    probe.address = address;
  }
  probe.port = static_cast<uint16_t>(input.Integer(input.Get(from, "port"), "port", 1, UINT16_MAX));
  return probe;
}

}  // namespace

Napi::Value PortProbe(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::vector<Probe> probes;
  for (Napi::Value item : input.Items(info[0], "ports")) {
    probes.push_back(ParseProbe(input, input.Object(item, "port")));
    if (!input.ok()) break;
  }
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ProbeJob>(info.Env(), std::move(probes)));
}

}  // namespace cleat
