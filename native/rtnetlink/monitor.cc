// monitor.cc: rtnetlink's announcements as events (rtnl.h: RtnlMonitor; index.ts: RtnlNotification).
//
// Guarantees: those of announcements.h, from the moment the promise resolves.
// Limits: with `everywhere`, a namespace is reported only while it has an nsid: not before it gets one, and not when it
// ends, because the kernel takes its nsid first and its links afterwards (cleanup_net). The announcements of an outside
// that has an nsid in itself carry that nsid.
#include <arpa/inet.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "../namespaces/nsfile.h"
#include "../netlink/announcements.h"
#include "../node/input.h"
#include "rtnl-decode.h"
#include "rtnl.h"

namespace cleat {

namespace {

struct Kind {
  const char* name;
  uint16_t type;
  uint32_t groups;
  // For links only: passes only this family, and with `down` only links that are not up.
  std::optional<unsigned char> family;
  bool down = false;
  // If not 0, passes only messages of this length.
  uint32_t length = 0;
};

constexpr uint32_t kAddressGroups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
constexpr uint32_t kRouteGroups = RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
constexpr uint32_t Group(rtnetlink_groups group) {
  return 1U << (group - 1);
}
// The length of a message with the interface and the value of one switch. A new link is announced with all of its
// switches.
constexpr uint32_t kOneSwitch = NLMSG_SPACE(sizeof(netconfmsg)) + 2 * (sizeof(nlattr) + sizeof(int32_t));
constexpr Kind kKinds[] = {
    {"link.new", RTM_NEWLINK, RTMGRP_LINK, AF_UNSPEC}, {"link.del", RTM_DELLINK, RTMGRP_LINK, AF_UNSPEC},
    {"address.new", RTM_NEWADDR, kAddressGroups, {}},  {"address.del", RTM_DELADDR, kAddressGroups, {}},
    {"route.new", RTM_NEWROUTE, kRouteGroups, {}},     {"route.del", RTM_DELROUTE, kRouteGroups, {}},
};
// Kinds that are reported only on request.
constexpr Kind kSpecialKinds[] = {
    {"link.down", RTM_NEWLINK, RTMGRP_LINK, AF_UNSPEC, true},
    {"port.del", RTM_DELLINK, RTMGRP_LINK, AF_BRIDGE},
    {"rule.del", RTM_DELRULE, Group(RTNLGRP_IPV4_RULE) | Group(RTNLGRP_IPV6_RULE), {}},
    {"switch", RTM_NEWNETCONF, Group(RTNLGRP_IPV4_NETCONF) | Group(RTNLGRP_IPV6_NETCONF), {}, false, kOneSwitch},
};

const Kind* KindOf(const std::string& name) {
  auto same = [&](const Kind& kind) { return name == kind.name; };
  if (auto kind = std::find_if(std::begin(kKinds), std::end(kKinds), same); kind != std::end(kKinds)) return kind;
  auto kind = std::find_if(std::begin(kSpecialKinds), std::end(kSpecialKinds), same);
  return kind == std::end(kSpecialKinds) ? nullptr : kind;
}

// Returns a filter that lets messages of a kind pass, and continues behind its end for all others.
std::vector<sock_filter> FilterOf(const Kind& kind) {
  constexpr uint32_t kInfo = NLMSG_HDRLEN;
  std::vector<sock_filter> filter;
  // nlmsg_type and ifi_flags are in host byte order, but BPF loads them as big-endian words.
  filter.push_back(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type)));
  filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(kind.type), 0, 1));
  if (kind.family) {
    filter.push_back(BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kInfo + offsetof(ifinfomsg, ifi_family)));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, *kind.family, 0, 1));
  }
  if (kind.length != 0) {
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(nlmsghdr, nlmsg_len)));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(kind.length), 0, 1));
  }
  if (kind.down) {
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kInfo + offsetof(ifinfomsg, ifi_flags)));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, htonl(IFF_UP), 1, 0));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, 0xffffffff));
  // Each jump was written to skip the next instruction. Makes it skip all the rest.
  for (size_t i = 0; i < filter.size(); i++) {
    if (BPF_CLASS(filter[i].code) != BPF_JMP) continue;
    const auto rest = static_cast<uint8_t>(filter.size() - i - 1);
    if (filter[i].jt != 0) filter[i].jt = rest;
    if (filter[i].jf != 0) filter[i].jf = rest;
  }
  return filter;
}

// Returns a subscription that drops everything else in the kernel: a link that is made is announced a dozen times, and
// each announcement would wake the event loop.
Subscription SubscriptionTo(const std::vector<Kind>& kinds, bool everywhere) {
  Subscription to{NETLINK_ROUTE, "NETLINK_ROUTE"};
  to.everywhere = everywhere;
  for (const Kind& kind : kinds) {
    to.groups |= kind.groups;
    const std::vector<sock_filter> filter = FilterOf(kind);
    to.filter.insert(to.filter.end(), filter.begin(), filter.end());
  }
  to.filter.push_back(BPF_STMT(BPF_RET | BPF_K, 0));
  return to;
}

class Reader : public Announcements {
 public:
  using Announcements::Announcements;

 private:
  Napi::Value Take(Napi::Env env, const nlmsghdr* message, std::optional<int> nsid) override {
    LinkFacts link;
    if (DecodeLink(message, &link)) {
      Napi::Object event = From(env, message->nlmsg_type == RTM_NEWLINK ? "link.new" : "link.del", nsid);
      event.Set("index", link.index);
      event.Set("name", link.name);
      event.Set("up", Napi::Boolean::New(env, link.up));
      event.Set("alias", link.alias);
      return event;
    }
    if (DecodePort(message, &link) && message->nlmsg_type == RTM_DELLINK) {
      Napi::Object event = From(env, "port.del", nsid);
      event.Set("index", link.index);
      event.Set("name", link.name);
      return event;
    }
    AddressFacts address;
    if (DecodeAddress(message, &address)) {
      Napi::Object event = From(env, message->nlmsg_type == RTM_NEWADDR ? "address.new" : "address.del", nsid);
      event.Set("link", address.link);
      event.Set("address", address.address);
      event.Set("prefix", static_cast<uint32_t>(address.prefix));
      return event;
    }
    RouteFacts route;
    if (DecodeRoute(message, &route)) {
      Napi::Object event = From(env, message->nlmsg_type == RTM_NEWROUTE ? "route.new" : "route.del", nsid);
      event.Set("destination", route.destination);
      event.Set("prefix", static_cast<uint32_t>(route.prefix));
      event.Set("link", route.link);
      event.Set("metric", route.metric);
      event.Set("table", route.table);
      return event;
    }
    if (message->nlmsg_type == RTM_DELRULE) return From(env, "rule.del", nsid);
    if (message->nlmsg_type == RTM_NEWNETCONF) return From(env, "switch", nsid);
    return {};
  }

  static Napi::Object From(Napi::Env env, const char* type, std::optional<int> nsid) {
    Napi::Object event = Event(env, type);
    event.Set("nsid", nsid ? Napi::Value(Napi::Number::New(env, *nsid)) : env.Null());
    return event;
  }
};

class MonitorJob : public Job {
 public:
  MonitorJob(Napi::Env env, std::shared_ptr<Announcements> reader, Subscription subscription,
             std::optional<std::string> netns)
      : Job(env), reader_(std::move(reader)), subscription_(std::move(subscription)), netns_(std::move(netns)) {}

  Failure Execute(Worker& worker) override {
    if (!netns_) return OpenAnnouncements(subscription_, &socket_);
    UniqueFd fd;
    if (Failure failure = OpenNetns(*netns_, &fd)) return failure;
    return worker.Inside(fd.get(), *netns_, [this] { return OpenAnnouncements(subscription_, &socket_); });
  }

  Napi::Value Resolve(Napi::Env env) override { return Announcements::Start(env, std::move(socket_), reader_); }

 private:
  std::shared_ptr<Announcements> reader_;
  const Subscription subscription_;
  const std::optional<std::string> netns_;
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
      if (const Kind* kind = KindOf(wanted)) kinds.push_back(*kind);
    }
  }
  const bool everywhere = input.OptionalFlag(info[3], "everywhere").value_or(false);
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<MonitorJob>(info.Env(), std::make_shared<Reader>(listener),
                                                    SubscriptionTo(kinds, everywhere), std::move(netns)));
}

}  // namespace cleat
