// link-switches.cc: Outside.linkSwitches: the switches of links under /proc/sys/net/ipv[46]/conf, read by one dump.
//
// For: reading many namespaces again and again. /proc/sys needs a lookup by path for each switch, which gets slower
// with the number of namespaces that have a link of the same name (1 ms at 1,000). A dump returns all switches with
// each link (IFLA_AF_SPEC: inet_fill_link_af in net/ipv4/devinet.c, inet6_fill_link_af in net/ipv6/addrconf.c).
// Limits: only the switches of links, not those of `all` and `default`; only the switches in kSwitches.
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/rtnetlink.h>

#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../netlink/nlattr.h"
#include "../node/input.h"
#include "../rtnetlink/rtnl.h"

namespace cleat {
namespace {

// The position of a switch in the kernel's array for its family.
struct Place {
  int family;
  size_t index;
};

// The kernel numbers IPv4's switches from 1, and the array begins with the first of them.
constexpr Place V4(size_t number) {
  return {AF_INET, number - 1};
}
constexpr Place V6(size_t number) {
  return {AF_INET6, number};
}

const std::map<std::string, Place> kSwitches{
    {"ipv4/accept_local", V4(IPV4_DEVCONF_ACCEPT_LOCAL)},
    {"ipv4/accept_redirects", V4(IPV4_DEVCONF_ACCEPT_REDIRECTS)},
    {"ipv4/accept_source_route", V4(IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE)},
    {"ipv4/arp_filter", V4(IPV4_DEVCONF_ARPFILTER)},
    {"ipv4/arp_notify", V4(IPV4_DEVCONF_ARP_NOTIFY)},
    {"ipv4/forwarding", V4(IPV4_DEVCONF_FORWARDING)},
    {"ipv4/route_localnet", V4(IPV4_DEVCONF_ROUTE_LOCALNET)},
    {"ipv4/rp_filter", V4(IPV4_DEVCONF_RP_FILTER)},
    {"ipv6/accept_dad", V6(DEVCONF_ACCEPT_DAD)},
    {"ipv6/accept_ra", V6(DEVCONF_ACCEPT_RA)},
    {"ipv6/accept_redirects", V6(DEVCONF_ACCEPT_REDIRECTS)},
    {"ipv6/disable_ipv6", V6(DEVCONF_DISABLE_IPV6)},
    {"ipv6/forwarding", V6(DEVCONF_FORWARDING)},
    {"ipv6/ndisc_notify", V6(DEVCONF_NDISC_NOTIFY)},
};

struct Wanted {
  std::string link;
  Place place;
};

// "net/ipv4/conf/eth0/arp_notify"
std::optional<Wanted> ReadKey(const std::string& key) {
  constexpr size_t kFamily = 4;  // "net/"
  constexpr size_t kLink = 14;   // "net/ipv4/conf/"
  const size_t end = key.rfind('/');
  if (key.compare(0, kFamily, "net/") != 0 || key.compare(8, 6, "/conf/") != 0 || end == std::string::npos) return {};
  if (end <= kLink) return {};
  const auto found = kSwitches.find(key.substr(kFamily, 4) + key.substr(end));
  if (found == kSwitches.end()) return {};
  return Wanted{key.substr(kLink, end - kLink), found->second};
}

class SwitchesJob : public Job {
 public:
  SwitchesJob(Napi::Env env, RtnlSocket& own, std::multimap<std::string, std::pair<size_t, Place>> wanted,
              std::optional<std::string> netns)
      : Job(env), own_(own), wanted_(std::move(wanted)), netns_(std::move(netns)), values_(wanted_.size()) {}

  Failure Execute(Worker& worker) override {
    return WithRtnl(worker, own_, netns_, [this](RtnlSocket& socket) {
      alignas(nlmsghdr) char buffer[256] = {};
      nlmsghdr* request = mnl_nlmsg_put_header(buffer);
      request->nlmsg_type = RTM_GETLINK;
      mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
      return socket.Dump(
          request, "RTM_GETLINK", [this] { values_.assign(wanted_.size(), std::nullopt); },
          [this](const nlmsghdr* message) { Take(message); });
    });
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array array = Napi::Array::New(env, values_.size());
    for (uint32_t i = 0; i < values_.size(); i++) {
      array.Set(i, values_[i] ? Napi::Value(Napi::String::New(env, std::to_string(*values_[i]))) : env.Null());
    }
    return array;
  }

 private:
  void Take(const nlmsghdr* message) {
    if (message->nlmsg_type != RTM_NEWLINK || HeaderOf<ifinfomsg>(message) == nullptr) return;
    std::string name;
    const nlattr* families = nullptr;
    EachAttribute(message, sizeof(ifinfomsg), [&](const nlattr* attr) {
      if (mnl_attr_get_type(attr) == IFLA_IFNAME) name = TextOf(attr);
      if (mnl_attr_get_type(attr) == IFLA_AF_SPEC) families = attr;
    });
    const auto wanted = wanted_.equal_range(name);
    if (families == nullptr || wanted.first == wanted.second) return;
    EachAttribute(families, [&](const nlattr* family) {
      const int type = mnl_attr_get_type(family);
      const int list = type == AF_INET ? static_cast<int>(IFLA_INET_CONF) : static_cast<int>(IFLA_INET6_CONF);
      EachAttribute(family, [&](const nlattr* attr) {
        if (mnl_attr_get_type(attr) != list) return;
        for (auto one = wanted.first; one != wanted.second; ++one) {
          const auto& [at, place] = one->second;
          if (place.family == type) values_[at] = At(attr, place.index);
        }
      });
    });
  }

  // Returns nothing if this kernel's array is shorter.
  static std::optional<int32_t> At(const nlattr* array, size_t index) {
    int32_t value;
    if (mnl_attr_get_payload_len(array) < (index + 1) * sizeof value) return std::nullopt;
    memcpy(&value, static_cast<const char*>(mnl_attr_get_payload(array)) + index * sizeof value, sizeof value);
    return value;
  }

  RtnlSocket& own_;
  const std::multimap<std::string, std::pair<size_t, Place>> wanted_;
  const std::optional<std::string> netns_;
  std::vector<std::optional<int32_t>> values_;
};

}  // namespace

Napi::Value LinkSwitches(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  std::multimap<std::string, std::pair<size_t, Place>> wanted;
  for (const std::string& key : input.Texts(info[0], "keys")) {
    if (const std::optional<Wanted> read = ReadKey(key)) {
      wanted.emplace(read->link, std::make_pair(wanted.size(), read->place));
    } else {
      input.Invalid("linkSwitches", key);
    }
  }
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<SwitchesJob>(info.Env(), own, std::move(wanted), std::move(netns)));
}

}  // namespace cleat
