// announcements.h: netlink multicast read on the event loop: what monitor.cc and nft-monitor.cc have in common.
//
// Guarantees: announcements reach the listener in the kernel's order; after the stop function none does, not even one
// already read. Lost ones are said to be lost ('overrun'), after everything that was queued before them: until the
// queue has been read empty the kernel drops what comes (af_netlink.c, NETLINK_S_CONGESTED), so that somebody who is
// told earlier, and looks at once, could miss a change that nothing tells him of later. Only the kernel is believed.
// Limits: at most kBatch datagrams per turn of the loop, so that a storm does not starve the rest.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <napi.h>

#include <memory>
#include <optional>
#include <vector>

#include "failure.h"
#include "fd.h"
#include "loop-poll.h"

namespace cleat {

// What to listen to.
struct Subscription {
  int protocol;
  const char* name;  // of the protocol, for failures
  uint32_t groups = 0;
  // What does not pass stays in the kernel (socket filter, packet(7)); it sees a datagram from its nlmsghdr on.
  std::vector<sock_filter> filter;
  // Those of the namespaces that have an nsid in the socket's, too (NETLINK_LISTEN_ALL_NSID).
  bool everywhere = false;
};

// A socket that is subscribed, in the calling thread's network namespace.
Failure OpenAnnouncements(const Subscription& subscription, UniqueFd* socket);

class Announcements {
 public:
  explicit Announcements(Napi::Function listener);
  virtual ~Announcements() = default;

  // Read the socket and tell the listener, until the function returned is called. Empty with an exception pending when
  // that cannot be.
  static Napi::Value Start(Napi::Env env, UniqueFd socket, std::shared_ptr<Announcements> reader);

 protected:
  static Napi::Object Event(Napi::Env env, const char* type);

 private:
  // The event a message stands for; empty for none. nsid: where it is from, nothing for the socket's own namespace.
  virtual Napi::Value Take(Napi::Env env, const nlmsghdr* message, std::optional<int> nsid) = 0;
  // What was taken so far may lack its end.
  virtual void Forget() {}

  void Drain(Poll& poll);
  void Deliver(Poll& poll, size_t size, std::optional<int> nsid);
  void TellLoss(Poll& poll);

  Napi::FunctionReference listener_;
  std::vector<char> buffer_;
  bool lost_ = false;  // and not told yet
};

}  // namespace cleat
