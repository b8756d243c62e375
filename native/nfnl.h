// nfnl.h: the nfnetlink socket of an outside namespace: batches (nf_tables transactions), requests and dumps.
//
// Guarantees: Commit is one sendmsg whatever the size, and reports the first message the kernel refused; Dump hands
// over every message of one consistent dump or returns EINTR (NLM_F_DUMP_INTR), never part of one silently. Only the
// kernel is believed: who else writes to the socket is not heard.
//
// Limits: a batch has to fit in the socket's send buffer. It is raised as far as needed with SO_SNDBUFFORCE; a user
// namespace that may not do that is held to net.core.wmem_max (about 4,000 port elements with the default): EMSGSIZE.
#pragma once

#include <libmnl/libmnl.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "failure.h"
#include "nsfile.h"

namespace cleat {

class Nfnl {
 public:
  using Handler = std::function<void(const nlmsghdr*)>;

  // The message the kernel refused: its sequence number within the batch and, when it says so (extended ack), the
  // offset of the attribute at fault from the start of the message. Sequence 0 is the batch as a whole.
  struct Refusal {
    int error = 0;
    uint32_t sequence = 0;
    uint32_t offset = 0;
  };

  // home: the open network namespace of the threads that use it; it outlives this.
  explicit Nfnl(int home) : home_(home) {}
  ~Nfnl();
  // It opens again with the next request.
  void Close();
  Nfnl(const Nfnl&) = delete;
  Nfnl& operator=(const Nfnl&) = delete;

  // Send messages numbered 0, 1, 2 ... (they are renumbered here), of which at least one has NLM_F_ACK, and read all
  // answers. `acks` (may be null) receives the number of requests answered with success. The failure returned is about
  // the socket; what the kernel refused is in `refusal`.
  Failure Commit(std::string* messages, Refusal* refusal, size_t* acks = nullptr);

  // The socket's netlink port, which the kernel puts on what it announces of our transactions (nlmsg_pid).
  Failure Port(uint32_t* port);
  // Whether a port in that namespace is that of a socket of this process. Any thread.
  static bool IsOurs(const Identity& netns, uint32_t port);

  // Send one request (with or without NLM_F_DUMP) and hand its answers to the handler. EINTR: interrupted, the
  // answers are not consistent, start over. An error answer becomes the failure; `object` is what it is about.
  Failure Request(nlmsghdr* request, const char* name, const std::string& object, const Handler& handler);

 private:
  Failure Open();
  Failure Reserve(size_t bytes);

  const int home_;
  Identity netns_;  // of home, once open
  mnl_socket* socket_ = nullptr;
  size_t reserved_ = 0;
  uint32_t sequence_ = 0;
};

// Run requests that belong together until none was interrupted. EAGAIN when somebody changes the kernel's tables
// faster than they can be read. Waits a little longer each time, 120 ms in all.
template <typename Fn>
Failure UntilConsistent(const std::string& object, Fn attempt) {
  constexpr int kAttempts = 16;
  for (int i = 0; i < kAttempts; i++) {
    Failure failure = attempt();
    if (failure.error != EINTR) return failure;
    std::this_thread::sleep_for(std::chrono::milliseconds(i));
  }
  return {EAGAIN, "NLM_F_DUMP_INTR", object};
}

}  // namespace cleat
