// announcements.cc: see announcements.h.
#include "announcements.h"

#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "nlattr.h"

namespace cleat {

namespace {

constexpr int kReceiveBuffer = 4 * 1024 * 1024;
constexpr size_t kReceiveSize = 32 * 1024;
constexpr int kBatch = 128;

// Returns the nsid of the namespace that a message comes from. A message of the socket's own namespace has no nsid, or
// -1 (left in a buffer that the kernel gave to another socket first).
std::optional<int> NsidOf(msghdr* message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    int nsid;
    if (part->cmsg_level != SOL_NETLINK || part->cmsg_type != NETLINK_LISTEN_ALL_NSID) continue;
    if (part->cmsg_len < CMSG_LEN(sizeof nsid)) continue;
    memcpy(&nsid, CMSG_DATA(part), sizeof nsid);
    if (nsid >= 0) return nsid;
  }
  return std::nullopt;
}

}  // namespace

Failure OpenAnnouncements(const Subscription& subscription, UniqueFd* opened) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, subscription.protocol));
  if (!fd) return {errno, "socket", subscription.name};
  // The buffer holds a burst of a few thousand links while JavaScript is busy. SO_RCVBUFFORCE needs CAP_NET_ADMIN
  // outside user namespaces.
  if (setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer) != 0) {
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  sock_fprog filter{static_cast<unsigned short>(subscription.filter.size()),
                    const_cast<sock_filter*>(subscription.filter.data())};
  if (setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) != 0) {
    return {errno, "setsockopt", "SO_ATTACH_FILTER"};
  }
  const int on = 1;
  if (subscription.everywhere && setsockopt(fd.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &on, sizeof on) != 0) {
    return {errno, "setsockopt", "NETLINK_LISTEN_ALL_NSID"};
  }
  sockaddr_nl name{};
  name.nl_family = AF_NETLINK;
  name.nl_groups = subscription.groups;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&name), sizeof name) != 0) return {errno, "bind", subscription.name};
  *opened = std::move(fd);
  return {};
}

Announcements::Announcements(Napi::Function listener) : listener_(Napi::Persistent(listener)), buffer_(kReceiveSize) {}

Napi::Value Announcements::Start(Napi::Env env, UniqueFd socket, std::shared_ptr<Announcements> reader) {
  std::shared_ptr<Poll> poll;
  auto drain = [reader = std::move(reader)](Poll& poll) { reader->Drain(poll); };
  if (Failure failure = Poll::Start(env, std::move(socket), Poll::Life::kKeepsLoopAlive, drain, &poll)) {
    ToError(env, failure).ThrowAsJavaScriptException();
    return {};
  }
  return Napi::Function::New(
      env, [poll](const Napi::CallbackInfo&) { poll->Stop(); }, "stop");
}

Napi::Object Announcements::Event(Napi::Env env, const char* type) {
  Napi::Object event = Napi::Object::New(env);
  event.Set("type", type);
  return event;
}

void Announcements::Drain(Poll& poll) {
  for (int i = 0; i < kBatch && !poll.stopped(); i++) {
    Napi::HandleScope scope(poll.env());
    sockaddr_nl from{};
    iovec part{buffer_.data(), buffer_.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t size = recvmsg(poll.fd(), &message, MSG_TRUNC);
    if (size < 0 && errno == EINTR) return;
    if (size < 0 && errno == EAGAIN) return TellLoss(poll);
    // ENOBUFS, or a message that is too long for the buffer: in both cases an announcement is lost. If an earlier loss
    // is still unreported, the queue was empty in between, so that loss is reported first.
    if (size < 0 || static_cast<size_t>(size) > buffer_.size()) {
      TellLoss(poll);
      lost_ = true;
    } else if (from.nl_pid == 0) {
      Deliver(poll, static_cast<size_t>(size), NsidOf(&message));
    }
  }
  // The queue may be empty after this batch. No event would then make the loop read it again, so the loss is reported
  // here.
  pollfd rest{poll.fd(), POLLIN, 0};
  if (lost_ && !poll.stopped() && ::poll(&rest, 1, 0) == 0) TellLoss(poll);
}

void Announcements::Deliver(Poll& poll, size_t size, std::optional<int> nsid) {
  EachMessage(buffer_.data(), size, [&](const nlmsghdr* message) {
    if (poll.stopped()) return false;
    Napi::Value event = Take(poll.env(), message, nsid);
    if (!event.IsEmpty()) CallBack(poll.env(), listener_, {event});
    return true;
  });
}

void Announcements::TellLoss(Poll& poll) {
  if (!lost_) return;
  lost_ = false;
  Forget();
  CallBack(poll.env(), listener_, {Event(poll.env(), "overrun")});
}

}  // namespace cleat
