// rtnl-nsid.cc: Outside.netnsId: the number another network namespace has in the outside (RTM_GETNSID; ip-netns(8)).
//
// Guarantees: the number stays the namespace's as long as the namespace lives. A namespace without a number gets the
// lowest free one; a number that somebody else gives it at the same time is used as well.
// Limits: the outside itself is refused (EINVAL): everything that the kernel announces in it would carry its number,
// where everybody, the monitor included, expects none.
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>

#include <cerrno>

#include "../namespaces/nsfile.h"
#include "../netlink/nlattr.h"
#include "../node/input.h"
#include "rtnl.h"

namespace cleat {

namespace {

int NsidIn(const nlmsghdr* answer) {
  int32_t nsid = NETNSA_NSID_NOT_ASSIGNED;
  EachAttribute(answer, sizeof(rtgenmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NETNSA_NSID) nsid = NumberOf<int32_t>(attribute).value_or(nsid);
  });
  return nsid;
}

class NsidJob : public Job {
 public:
  NsidJob(Napi::Env env, RtnlSocket& own, std::string path) : Job(env), own_(own), path_(std::move(path)) {}

  Failure Execute(Worker& worker) override {
    UniqueFd netns;
    if (Failure failure = OpenNetns(path_, &netns)) return failure;
    Identity home;
    Identity there;
    if (Failure failure = IdentifyNetns(worker.home(), path_, &home)) return failure;
    if (Failure failure = IdentifyNetns(netns.get(), path_, &there)) return failure;
    if (home.dev == there.dev && home.ino == there.ino) return {EINVAL, "RTM_GETNSID", path_};
    return WithRtnl(worker, own_, std::nullopt, [&](RtnlSocket& socket) { return Find(socket, netns.get()); });
  }

  Napi::Value Resolve(Napi::Env env) override { return Napi::Number::New(env, nsid_); }

 private:
  Failure Find(RtnlSocket& socket, int netns) {
    if (Failure failure = Ask(socket, RTM_GETNSID, "RTM_GETNSID", netns)) return failure;
    if (nsid_ != NETNSA_NSID_NOT_ASSIGNED) return {};
    Failure failure = Ask(socket, RTM_NEWNSID, "RTM_NEWNSID", netns);
    // EEXIST: somebody has given it a number in the meantime.
    if (failure && failure.error != EEXIST) return failure;
    if (Failure again = Ask(socket, RTM_GETNSID, "RTM_GETNSID", netns)) return again;
    return nsid_ == NETNSA_NSID_NOT_ASSIGNED ? Failure{ENOENT, "RTM_GETNSID", path_} : Failure{};
  }

  Failure Ask(RtnlSocket& socket, uint16_t type, const char* name, int netns) {
    alignas(nlmsghdr) char buffer[256] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = type;
    if (type == RTM_NEWNSID) request->nlmsg_flags = NLM_F_ACK;
    mnl_nlmsg_put_extra_header(request, sizeof(rtgenmsg));
    mnl_attr_put_u32(request, NETNSA_FD, static_cast<uint32_t>(netns));
    // NETNSA_NSID_NOT_ASSIGNED makes the kernel take the lowest free one (alloc_netid).
    if (type == RTM_NEWNSID) mnl_attr_put_u32(request, NETNSA_NSID, static_cast<uint32_t>(NETNSA_NSID_NOT_ASSIGNED));
    int error = 0;
    Failure failure = socket.Ask(request, name, &error, [&](const nlmsghdr* answer) { nsid_ = NsidIn(answer); });
    if (failure) return failure;
    return error == 0 ? Failure{} : Failure{error, name, path_};
  }

  RtnlSocket& own_;
  const std::string path_;
  int nsid_ = NETNSA_NSID_NOT_ASSIGNED;
};

}  // namespace

Napi::Value RtnlNetnsId(const Napi::CallbackInfo& info, Worker& worker, RtnlSocket& own) {
  Input input(info.Env());
  std::string path = input.Text(info[0], "path");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<NsidJob>(info.Env(), own, std::move(path)));
}

}  // namespace cleat
