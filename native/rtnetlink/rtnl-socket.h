// rtnl-socket.h: one rtnetlink socket, which carries a batch of changes, a dump, or one lookup.
//
// Guarantees:
// - The socket acts on the network namespace it was opened in, whatever namespace the thread is in later.
// - Nothing blocks: rtnetlink does its work inside sendmsg(2) and has queued every answer when that returns
//   (netlink_unicast_kernel in net/netlink/af_netlink.c), so an answer that is not there is lost, and reported as lost.
// - A dump is consistent: NLM_F_DUMP_INTR starts it over, a bounded number of times.
//
// Limits: one thread at a time. After a failure the state of the socket is unknown: Close and open again.
#pragma once

#include <libmnl/libmnl.h>

#include <functional>
#include <string>
#include <vector>

#include "../fd.h"
#include "../node/failure.h"

namespace cleat {

class RtnlSocket {
 public:
  // Opens the socket in the calling thread's network namespace; does nothing if it is open already.
  Failure Open();
  void Close() { fd_.Reset(); }

  // Returns the sequence number for the next message. They are consecutive, so that a batch can be counted from its
  // first.
  uint32_t NextSequence() { return ++sequence_; }

  // Sends size bytes of messages at once.
  Failure Send(const void* messages, size_t size, const char* name);
  // Calls `each` for every message received until it returns false. `name` is for failures. `each` may get answers to
  // an abandoned request: sequence numbers tell them apart.
  Failure Receive(const char* name, const std::function<bool(const nlmsghdr*)>& each);

  // Sends request (its sequence number is set here) and passes the one answer to `take`, or sets `error` to the errno
  // of a refusal.
  Failure Ask(nlmsghdr* request, const char* name, int* error, const std::function<void(const nlmsghdr*)>& take);

  // Sends request (its sequence number and flags are set here) and reads the dump; `reset` is called before each
  // attempt, `each` for every object.
  Failure Dump(nlmsghdr* request, const char* name, const std::function<void()>& reset,
               const std::function<void(const nlmsghdr*)>& each);

  // Looks up the ifindex of the link called name. Returns 0 or errno (ENODEV).
  int IndexOf(const std::string& name, int* index);

 private:
  Failure DumpOnce(nlmsghdr* request, const char* name, const std::function<void(const nlmsghdr*)>& each,
                   bool* interrupted);

  UniqueFd fd_;
  uint32_t sequence_ = 0;
  std::vector<char> buffer_;
};

}  // namespace cleat
