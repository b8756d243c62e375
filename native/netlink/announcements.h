// announcements.h: reads netlink multicast on the event loop. monitor.cc and nft-monitor.cc share it.
//
// Guarantees: announcements reach the listener in the kernel's order. After the stop function was called the listener
// gets none, not even one that was already read. A loss is reported ('overrun') after everything that was queued before
// it: until the queue has been read empty the kernel drops what arrives (af_netlink.c, NETLINK_S_CONGESTED). A listener
// that is notified earlier, and looks at once, could miss a change that no later announcement reports. Only messages
// from the kernel are accepted.
// Limits: at most kBatch datagrams per turn of the loop, so that a storm does not starve the rest.
#pragma once

#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <napi.h>

#include <memory>
#include <optional>
#include <vector>

#include "../fd.h"
#include "../node/failure.h"
#include "../node/loop-poll.h"

namespace cleat {

// The announcements to listen to.
struct Subscription {
  int protocol;
  const char* name;  // the protocol's name, for failures
  uint32_t groups = 0;
  // A socket filter (packet(7)), which sees a datagram from its nlmsghdr on. The kernel drops what does not pass it.
  std::vector<sock_filter> filter;
  // True to receive also from the namespaces that have an nsid in the socket's namespace (NETLINK_LISTEN_ALL_NSID).
  bool everywhere = false;
};

// Opens a subscribed socket in the calling thread's network namespace.
Failure OpenAnnouncements(const Subscription& subscription, UniqueFd* opened);

class Announcements {
 public:
  explicit Announcements(Napi::Function listener);
  virtual ~Announcements() = default;

  // Reads the socket and notifies the listener until the returned function is called. Returns an empty value with an
  // exception pending if it cannot start.
  static Napi::Value Start(Napi::Env env, UniqueFd socket, std::shared_ptr<Announcements> reader);

 protected:
  static Napi::Object Event(Napi::Env env, const char* type);

 private:
  // Returns the event that a message stands for; empty for none. `nsid` names the namespace that the message comes
  // from; it is absent for the socket's own namespace.
  virtual Napi::Value Take(Napi::Env env, const nlmsghdr* message, std::optional<int> nsid) = 0;
  // Drops what was taken so far, because its end may be lost.
  virtual void Forget() {}

  void Drain(Poll& poll);
  void Deliver(Poll& poll, size_t size, std::optional<int> nsid);
  void TellLoss(Poll& poll);

  Napi::FunctionReference listener_;
  std::vector<char> buffer_;
  bool lost_ = false;  // a loss that is not reported yet
};

}  // namespace cleat
