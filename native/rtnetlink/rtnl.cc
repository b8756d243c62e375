// rtnl.cc: the jobs behind rtnl.h: one for changes, one template for everything that lists.
#include "rtnl.h"

#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include <cerrno>

#include "../namespaces/nsfile.h"
#include "../netlink/nlattr.h"
#include "../node/input.h"
#include "rtnl-batch.h"
#include "rtnl-decode.h"
#include "rtnl-request.h"
#include "rtnl-value.h"

namespace cleat {

Failure WithRtnl(Worker& worker, RtnlSocket& own, const std::optional<std::string>& netns,
                 const std::function<Failure(RtnlSocket&)>& use) {
  if (!netns) {
    if (Failure failure = own.Open()) return failure;
    Failure failure = use(own);
    if (failure) own.Close();
    return failure;
  }
  UniqueFd fd;
  if (Failure failure = OpenNetns(*netns, &fd)) return failure;
  RtnlSocket socket;
  if (Failure failure = worker.Inside(fd.get(), *netns, [&] { return socket.Open(); })) return failure;
  return use(socket);
}

namespace {

class ChangeJob : public Job {
 public:
  ChangeJob(Napi::Env env, RtnlSocket& own, std::vector<RtnlRequest> requests, std::optional<std::string> netns)
      : Job(env), own_(own), requests_(std::move(requests)), netns_(std::move(netns)), errors_(requests_.size()) {}

  Failure Execute(Worker& worker) override {
    return WithRtnl(worker, own_, netns_, [this, &worker](RtnlSocket& socket) {
      RtnlBatch batch(worker, socket, errors_);
      for (size_t i = 0; i < requests_.size() && !batch.failure(); i++) {
        batch.ForRequest(i);
        if (int error = EncodeRtnlRequest(requests_[i], batch)) errors_[i] = error;
      }
      batch.Flush();
      return batch.failure();
    });
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array replies = Napi::Array::New(env, errors_.size());
    for (size_t i = 0; i < errors_.size(); i++) {
      Napi::Object reply = Napi::Object::New(env);
      reply.Set("errno", errors_[i]);
      reply.Set("code", errors_[i] == 0 ? "" : ErrnoName(errors_[i]));
      replies.Set(static_cast<uint32_t>(i), reply);
    }
    return replies;
  }

 private:
  RtnlSocket& own_;
  std::vector<RtnlRequest> requests_;
  std::optional<std::string> netns_;
  std::vector<int> errors_;
};

// Dumps objects of one type and returns them as an array.
template <typename Object, typename Header>
class ListJob : public Job {
 public:
  using Decode = bool (*)(const nlmsghdr* message, Object* object);
  // Selects the objects; empty: all of them.
  using Wanted = std::function<bool(const nlmsghdr* message)>;
  // Fills the request's header; empty: it is all zero.
  using Fill = std::function<void(Header* header)>;

  ListJob(Napi::Env env, RtnlSocket& own, std::optional<std::string> netns, uint16_t type, const char* name,
          Decode decode, Wanted wanted, Fill fill)
      : Job(env),
        own_(own),
        netns_(std::move(netns)),
        type_(type),
        name_(name),
        decode_(decode),
        wanted_(std::move(wanted)),
        fill_(std::move(fill)) {}

  Failure Execute(Worker& worker) override {
    Failure failure = WithRtnl(worker, own_, netns_, [this](RtnlSocket& socket) {
      alignas(nlmsghdr) char buffer[256] = {};
      nlmsghdr* request = mnl_nlmsg_put_header(buffer);
      request->nlmsg_type = type_;
      auto* header = static_cast<Header*>(mnl_nlmsg_put_extra_header(request, sizeof(Header)));
      if (fill_) fill_(header);
      return socket.Dump(
          request, name_, [this] { objects_.clear(); },
          [this](const nlmsghdr* message) {
            if (wanted_ && !wanted_(message)) return;
            Object object;
            if (decode_(message, &object)) objects_.push_back(std::move(object));
          });
    });
    if (failure && failure.object.empty() && netns_) failure.object = *netns_;
    return failure;
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array array = Napi::Array::New(env, objects_.size());
    for (size_t i = 0; i < objects_.size(); i++) {
      Napi::HandleScope scope(env);
      array.Set(static_cast<uint32_t>(i), ToValue(env, objects_[i]));
    }
    return array;
  }

 private:
  RtnlSocket& own_;
  std::optional<std::string> netns_;
  const uint16_t type_;
  const char* const name_;
  const Decode decode_;
  const Wanted wanted_;
  const Fill fill_;
  std::vector<Object> objects_;
};

class LinkJob : public Job {
 public:
  LinkJob(Napi::Env env, RtnlSocket& own, std::string name, std::optional<std::string> netns)
      : Job(env), own_(own), name_(std::move(name)), netns_(std::move(netns)) {}

  Failure Execute(Worker& worker) override {
    if (name_.empty() || name_.size() >= IFNAMSIZ) return {};  // no link can be called that
    return WithRtnl(worker, own_, netns_, [this](RtnlSocket& socket) { return Look(socket); });
  }

  Napi::Value Resolve(Napi::Env env) override { return link_ ? ToValue(env, *link_) : env.Null(); }

 private:
  Failure Look(RtnlSocket& socket) {
    alignas(nlmsghdr) char buffer[256] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETLINK;
    mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg));
    mnl_attr_put_strz(request, IFLA_IFNAME, name_.c_str());
    int error = 0;
    Failure failure = socket.Ask(request, "RTM_GETLINK", &error, [&](const nlmsghdr* answer) {
      LinkFacts link;
      if (DecodeLink(answer, &link)) link_ = std::move(link);
    });
    if (failure) return failure;
    if (error != 0 && error != ENODEV) return {error, "RTM_GETLINK", name_};
    return {};
  }

  RtnlSocket& own_;
  std::string name_;
  std::optional<std::string> netns_;
  std::optional<LinkFacts> link_;
};

template <typename Object, typename Header>
Napi::Value List(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own, uint16_t type, const char* name,
                 bool (*decode)(const nlmsghdr*, Object*), typename ListJob<Object, Header>::Wanted wanted = {},
                 typename ListJob<Object, Header>::Fill fill = {}) {
  Input input(info.Env());
  std::optional<std::string> netns = input.OptionalText(info[0], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ListJob<Object, Header>>(info.Env(), own, netns, type, name, decode,
                                                                 std::move(wanted), std::move(fill)));
}

}  // namespace

Napi::Value RtnlChange(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  std::vector<RtnlRequest> requests = ParseRtnlRequests(input, info[0]);
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ChangeJob>(info.Env(), own, std::move(requests), std::move(netns)));
}

Napi::Value RtnlLink(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  std::string name = input.Text(info[0], "name");
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<LinkJob>(info.Env(), own, std::move(name), std::move(netns)));
}

Napi::Value RtnlLinks(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  return List<LinkFacts, ifinfomsg>(info, worker, own, RTM_GETLINK, "RTM_GETLINK", DecodeLink);
}

Napi::Value RtnlAddresses(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  return List<AddressFacts, ifaddrmsg>(info, worker, own, RTM_GETADDR, "RTM_GETADDR", DecodeAddress);
}

Napi::Value RtnlRoutes(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  if (info[1].IsUndefined()) {
    return List<RouteFacts, rtmsg>(info, worker, own, RTM_GETROUTE, "RTM_GETROUTE", DecodeRoute);
  }
  Input input(info.Env());
  std::vector<Area> areas;
  for (Napi::Value item : input.Items(info[1], "into")) {
    Napi::Object from = input.Object(item, "area");
    Area area;
    area.address = input.Address(from, "destination");
    area.prefix = static_cast<uint8_t>(input.Uint(from, "prefix", area.address.bits()));
    areas.push_back(area);
  }
  if (!input.ok()) return input.Rejection();
  return List<RouteFacts, rtmsg>(
      info, worker, own, RTM_GETROUTE, "RTM_GETROUTE", DecodeRoute,
      [areas = std::move(areas)](const nlmsghdr* message) { return RouteTouches(message, areas); });
}

Napi::Value RtnlRoutesOf(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  std::vector<uint32_t> tables;
  for (Napi::Value item : input.Items(info[1], "tables")) {
    tables.push_back(static_cast<uint32_t>(input.Integer(item, "table", 0, UINT32_MAX)));
  }
  if (!input.ok()) return input.Rejection();
  return List<RouteFacts, rtmsg>(
      info, worker, own, RTM_GETROUTE, "RTM_GETROUTE", DecodeRoute,
      [tables = std::move(tables)](const nlmsghdr* message) { return RouteIsOf(message, tables); });
}

Napi::Value RtnlRules(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  return List<RuleFacts, fib_rule_hdr>(info, worker, own, RTM_GETRULE, "RTM_GETRULE", DecodeRule);
}

Napi::Value RtnlNeighbours(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  return List<NeighbourFacts, ndmsg>(info, worker, own, RTM_GETNEIGH, "RTM_GETNEIGH", DecodeNeighbour);
}

Napi::Value RtnlFdb(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  const auto link = static_cast<int>(input.Integer(info[1], "link", 1, INT32_MAX));
  if (!input.ok()) return input.Rejection();
  // The kernel takes an ifinfomsg here, since before it had ndmsg (valid_fdb_dump_legacy).
  return List<FdbFacts, ifinfomsg>(info, worker, own, RTM_GETNEIGH, "RTM_GETNEIGH", DecodeFdb, {},
                                   [link](ifinfomsg* header) {
                                     header->ifi_family = AF_BRIDGE;
                                     header->ifi_index = link;
                                   });
}

}  // namespace cleat
