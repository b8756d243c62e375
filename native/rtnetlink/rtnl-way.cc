// rtnl-way.cc: Outside.wayTo: how the outside's packets reach an address (RTM_GETROUTE for one address; ip-route(8),
// get).
//
// Guarantees: the answer is the kernel's own, with all its rules and tables (VPNs lead out by tables of their own).
// Limits: it takes several requests: a link that goes between them counts as no way out. An MTU that the kernel learnt
// for exactly this address counts as the route's.
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>

#include "../netlink/nlattr.h"
#include "../node/input.h"
#include "rtnl-decode.h"
#include "rtnl.h"

namespace cleat {

namespace {

class WayJob : public Job {
 public:
  WayJob(Napi::Env env, RtnlSocket& own, IpAddress to, std::optional<IpAddress> source,
         std::optional<std::string> came_by)
      : Job(env), own_(own), to_(to), source_(source), came_by_(std::move(came_by)) {}

  Failure Execute(Worker& worker) override {
    return WithRtnl(worker, own_, std::nullopt, [this](RtnlSocket& socket) {
      int came_by = 0;
      if (came_by_) {
        const int error = socket.IndexOf(*came_by_, &came_by);
        if (error == ENODEV) return Failure{};
        if (error != 0) return Failure{error, "RTM_GETLINK", *came_by_};
      }
      if (Failure failure = AskRoute(socket, came_by)) return failure;
      return way_.link == 0 ? Failure{} : AskLink(socket);
    });
  }

  Napi::Value Resolve(Napi::Env env) override {
    if (link_.name.empty()) return env.Null();
    Napi::Object way = Napi::Object::New(env);
    way.Set("link", link_.name);
    way.Set("gateway", way_.gateway ? Napi::Value(Napi::String::New(env, *way_.gateway)) : env.Null());
    way.Set("table", way_.table);
    way.Set("mtu", link_.mtu);
    return way;
  }

 private:
  Failure AskRoute(RtnlSocket& socket, int came_by) {
    alignas(nlmsghdr) char buffer[256] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETROUTE;
    auto* info = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(rtmsg)));
    info->rtm_family = static_cast<uint8_t>(to_.family);
    info->rtm_flags = RTM_F_LOOKUP_TABLE;
    info->rtm_dst_len = static_cast<uint8_t>(to_.bits());
    mnl_attr_put(request, RTA_DST, to_.size(), to_.bytes.data());
    if (source_) {
      info->rtm_src_len = static_cast<uint8_t>(source_->bits());
      mnl_attr_put(request, RTA_SRC, source_->size(), source_->bytes.data());
    }
    if (came_by != 0) mnl_attr_put_u32(request, RTA_IIF, static_cast<uint32_t>(came_by));
    int error = 0;
    Failure failure =
        socket.Ask(request, "RTM_GETROUTE", &error, [&](const nlmsghdr* answer) { DecodeWay(answer, &way_); });
    if (failure) return failure;
    // There is no route, or one that refuses: unreachable, prohibit and blackhole (fib_props in
    // net/ipv4/fib_semantics.c). For a packet that comes in by a link also: rp_filter drops it (EXDEV, or EINVAL).
    for (int none : {0, ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL, EXDEV}) {
      if (error == none) return {};
    }
    return {error, "RTM_GETROUTE", FormatIpAddress(to_.family, to_.bytes.data())};
  }

  Failure AskLink(RtnlSocket& socket) {
    alignas(nlmsghdr) char buffer[256] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETLINK;
    static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)))->ifi_index = way_.link;
    int error = 0;
    Failure failure =
        socket.Ask(request, "RTM_GETLINK", &error, [this](const nlmsghdr* answer) { DecodeLink(answer, &link_); });
    if (failure) return failure;
    if (error != 0 && error != ENODEV) return {error, "RTM_GETLINK", std::to_string(way_.link)};
    link_.mtu = std::min(link_.mtu, way_.mtu.value_or(link_.mtu));
    return {};
  }

  RtnlSocket& own_;
  const IpAddress to_;
  const std::optional<IpAddress> source_;
  const std::optional<std::string> came_by_;
  WayFacts way_;
  LinkFacts link_;
};

}  // namespace

Napi::Value RtnlWayTo(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  const std::string text = input.Text(info[0], "address");
  const IpAddress to = input.ToAddress(text);
  std::optional<IpAddress> source;
  std::optional<std::string> came_by;
  if (!info[1].IsUndefined()) {
    Napi::Object packet = input.Object(info[1], "packet");
    source = input.Address(packet, "source");
    came_by = input.OptionalText(packet, "cameBy");
    if (input.ok() && source->family != to.family) input.Invalid("RTM_GETROUTE", text);
  }
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<WayJob>(info.Env(), own, to, source, std::move(came_by)));
}

}  // namespace cleat
