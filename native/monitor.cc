// monitor.cc: rtnetlink's announcements as events (rtnl.h: RtnlMonitor; index.ts: RtnlNotification).
//
// Guarantees: events arrive in the kernel's order, on the event loop, from the moment the promise resolves; lost ones
// are said to be lost ('overrun'). After the stop function no event arrives, not even one already read.
// Limits: at most kBatch messages per turn of the loop, so that a storm does not starve the rest.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <vector>

#include "input.h"
#include "loop-poll.h"
#include "nsfile.h"
#include "rtnl-decode.h"
#include "rtnl.h"

namespace cleat {

namespace {

constexpr int kReceiveBuffer = 4 * 1024 * 1024;
constexpr size_t kReceiveSize = 32 * 1024;
constexpr int kBatch = 128;

struct Kind {
  const char* name;
  uint16_t type;
  uint32_t groups;
};

constexpr uint32_t kAddressGroups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
constexpr uint32_t kRouteGroups = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
constexpr Kind kKinds[] = {
    {"link.new", RTM_NEWLINK, RTMGRP_LINK},       {"link.del", RTM_DELLINK, RTMGRP_LINK},
    {"address.new", RTM_NEWADDR, kAddressGroups}, {"address.del", RTM_DELADDR, kAddressGroups},
    {"route.new", RTM_NEWROUTE, kRouteGroups},    {"route.del", RTM_DELROUTE, kRouteGroups},
};

// Everything else stays in the kernel (socket filter, packet(7)): a link that is made is announced a dozen times, and
// each announcement would wake the event loop.
Failure Listen(int fd, const std::vector<Kind>& kinds) {
  std::vector<sock_filter> program;
  // nlmsg_type, in host byte order, as the big-endian half word that BPF takes it for.
  program.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type)));
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  for (const Kind& kind : kinds) {
    name.nl_groups |= kind.groups;
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(kind.type), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffffffff));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return {errno, "setsockopt", "SO_ATTACH_FILTER"};
  }
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) return {errno, "bind", "NETLINK_ROUTE"};
  return {};
}

Failure OpenMonitor(const std::vector<Kind>& kinds, UniqueFd* monitor) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return {errno, "socket", "NETLINK_ROUTE"};
  // A burst of a few thousand links while JavaScript is busy. FORCE needs CAP_NET_ADMIN outside user namespaces.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0) {
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  if (Failure failure = Listen(fd.get(), kinds)) return failure;
  *monitor = std::move(fd);
  return {};
}

Napi::Object Event(Napi::Env env, const char* type) {
  Napi::Object event = Napi::Object::New(env);
  event.Set("type", type);
  return event;
}

// The event a message stands for; empty for one that is none of ours.
Napi::Value ToEvent(Napi::Env env, const nlmsghdr* message) {
  LinkFacts link;
  if (DecodeLink(message, &link)) {
    Napi::Object event = Event(env, message->nlmsg_type == RTM_NEWLINK ? "link.new" : "link.del");
    event.Set("index", link.index);
    event.Set("name", link.name);
    event.Set("up", Napi::Boolean::New(env, link.up));
    event.Set("alias", link.alias);
    return event;
  }
  AddressFacts address;
  if (DecodeAddress(message, &address)) {
    Napi::Object event = Event(env, message->nlmsg_type == RTM_NEWADDR ? "address.new" : "address.del");
    event.Set("link", address.link);
    event.Set("address", address.address);
    event.Set("prefix", static_cast<uint32_t>(address.prefix));
    return event;
  }
  RouteFacts route;
  if (DecodeRoute(message, &route)) {
    Napi::Object event = Event(env, message->nlmsg_type == RTM_NEWROUTE ? "route.new" : "route.del");
    event.Set("destination", route.destination);
    event.Set("prefix", static_cast<uint32_t>(route.prefix));
    event.Set("link", route.link);
    event.Set("table", route.table);
    return event;
  }
  return {};
}

class Reader {
 public:
  Reader(Napi::Function listener) : listener_(Napi::Persistent(listener)), buffer_(kReceiveSize) {}

  void Drain(Poll& poll) {
    for (int i = 0; i < kBatch && !poll.stopped(); i++) {
      Napi::HandleScope scope(poll.env());
      sockaddr_nl from{};
      socklen_t from_size = sizeof from;
      ssize_t size = recvfrom(poll.fd(), buffer_.data(), buffer_.size(), MSG_TRUNC, reinterpret_cast<sockaddr*>(&from),
                              &from_size);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
      // ENOBUFS, or a message too long for the buffer: either way something went by unseen.
      if (size < 0 || static_cast<size_t>(size) > buffer_.size()) {
        CallBack(poll.env(), listener_, {Event(poll.env(), "overrun")});
      } else if (from.nl_pid == 0) {
        Deliver(poll, static_cast<int>(size));
      }
    }
  }

 private:
  void Deliver(Poll& poll, int left) {
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer_.data());
    for (; mnl_nlmsg_ok(message, left) && !poll.stopped(); message = mnl_nlmsg_next(message, &left)) {
      Napi::Value event = ToEvent(poll.env(), message);
      if (!event.IsEmpty()) CallBack(poll.env(), listener_, {event});
    }
  }

  Napi::FunctionReference listener_;
  std::vector<char> buffer_;
};

class MonitorJob : public Job {
 public:
  MonitorJob(Napi::Env env, std::shared_ptr<Reader> reader, std::vector<Kind> kinds, std::optional<std::string> netns)
      : Job(env), reader_(std::move(reader)), kinds_(std::move(kinds)), netns_(std::move(netns)) {}

  Failure Execute(Worker& worker) override {
    if (!netns_) return OpenMonitor(kinds_, &socket_);
    UniqueFd fd;
    if (Failure failure = OpenNetns(*netns_, &fd)) return failure;
    return worker.Inside(fd.get(), *netns_, [this] { return OpenMonitor(kinds_, &socket_); });
  }

  Napi::Value Resolve(Napi::Env env) override {
    std::shared_ptr<Poll> poll;
    auto drain = [reader = reader_](Poll& poll) { reader->Drain(poll); };
    if (Failure failure = Poll::Start(env, std::move(socket_), Poll::Life::kKeepsLoopAlive, drain, &poll)) {
      ToError(env, failure).ThrowAsJavaScriptException();
      return {};
    }
    return Napi::Function::New(
        env, [poll](const Napi::CallbackInfo&) { poll->Stop(); }, "stop");
  }

 private:
  std::shared_ptr<Reader> reader_;
  std::vector<Kind> kinds_;
  std::optional<std::string> netns_;
  UniqueFd socket_;
};

}  // namespace

Napi::Value RtnlMonitor(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  Napi::Function listener = input.Function(info[0], "listener");
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  std::vector<Kind> kinds(std::begin(kKinds), std::end(kKinds));
  if (info[2].IsArray()) {
    kinds.clear();
    Napi::Array only = info[2].As<Napi::Array>();
    for (uint32_t i = 0; i < only.Length() && input.ok(); i++) {
      std::string wanted = input.Text(only.Get(i), "only");
      auto kind = std::find_if(std::begin(kKinds), std::end(kKinds), [&](const Kind& k) { return wanted == k.name; });
      if (kind != std::end(kKinds)) kinds.push_back(*kind);
    }
  }
  if (!input.ok()) return input.Rejection();
  return worker.Submit(
      std::make_unique<MonitorJob>(info.Env(), std::make_shared<Reader>(listener), std::move(kinds), std::move(netns)));
}

}  // namespace cleat
