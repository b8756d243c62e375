// rtnl-socket.h: one rtnetlink socket, and the three conversations held on it: a batch of changes, a dump, one lookup.
//
// Guarantees:
// - The socket speaks to the network namespace it was opened in, whatever namespace the thread is in later.
// - Nothing blocks: rtnetlink does its work inside sendmsg(2) and has queued every answer when that returns
//   (netlink_unicast_kernel in net/netlink/af_netlink.c), so an answer that is not there is lost, and said to be.
// - A dump is consistent: NLM_F_DUMP_INTR starts it over, a bounded number of times.
//
// Limits: one thread at a time. After a failure the conversation is in doubt: Close and open again.
#pragma once

#include <libmnl/libmnl.h>

#include <functional>
#include <string>
#include <vector>

#include "failure.h"
#include "fd.h"

namespace cleat {

class RtnlSocket {
 public:
  // Open in the calling thread's network namespace; nothing when open already.
  Failure Open();
  void Close() { fd_.Reset(); }

  // The sequence number for the next message: consecutive, so that a batch can be counted from its first.
  uint32_t NextSequence() { return ++sequence_; }

  // Send size bytes of messages at once.
  Failure Send(const void* messages, size_t size, const char* name);
  // Call each for every message received until it says it has seen enough (false). name is for failures. each may be
  // given answers of an abandoned conversation: sequence numbers tell.
  Failure Receive(const char* name, const std::function<bool(const nlmsghdr*)>& each);

  // Send request (its sequence number is set here) and hand the one answer to take, or give the errno of a refusal.
  Failure Ask(nlmsghdr* request, const char* name, int* error, const std::function<void(const nlmsghdr*)>& take);

  // Send request (its sequence number and flags are set here) and collect the answer; reset is called before each
  // attempt, each for every object.
  Failure Dump(nlmsghdr* request, const char* name, const std::function<void()>& reset,
               const std::function<void(const nlmsghdr*)>& each);

  // ifindex of the link called name; errno (ENODEV) through the return value.
  int IndexOf(const std::string& name, int* index);

 private:
  Failure DumpOnce(nlmsghdr* request, const char* name, const std::function<void(const nlmsghdr*)>& each,
                   bool* interrupted);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::vector<char> buffer_;
};

}  // namespace cleat
