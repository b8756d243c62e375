// udp-socket.cc: see udp-socket.h.
#include "udp-socket.h"

#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>

#include "../fd.h"
#include "../node/input.h"
#include "nsfile.h"

namespace cleat {

namespace {

class SocketJob : public Job {
 public:
  SocketJob(Napi::Env env, int family, std::optional<std::string> netns)
      : Job(env), family_(family), netns_(std::move(netns)) {}

  Failure Execute(Worker& worker) override {
    if (!netns_) return Open();
    UniqueFd netns;
    if (Failure failure = OpenNetns(*netns_, &netns)) return failure;
    return worker.Inside(netns.get(), *netns_, [this] { return Open(); });
  }

  Napi::Value Resolve(Napi::Env env) override { return Napi::Number::New(env, socket_.Release()); }

 private:
  Failure Open() {
    socket_.Reset(socket(family_, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return socket_ ? Failure{} : Failure{errno, "socket", netns_.value_or("udp")};
  }

  const int family_;
  const std::optional<std::string> netns_;
  UniqueFd socket_;
};

}  // namespace

Napi::Value UdpSocket(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  const int64_t family = input.Integer(info[0], "family", 4, 6);
  if (family == 5) input.WrongType("family", "4 or 6");
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<SocketJob>(info.Env(), family == 6 ? AF_INET6 : AF_INET, std::move(netns)));
}

}  // namespace cleat
