// nfnl.h: the nfnetlink socket of an outside namespace: batches (nf_tables transactions), requests and dumps.
//
// Guarantees: Commit is one sendmsg whatever the size, and reports the first message that the kernel refused. Request
// passes on every message of one consistent dump or returns EINTR (NLM_F_DUMP_INTR), never part of one silently. Only
// messages from the kernel are accepted.
//
// Limits: a batch has to fit in the socket's send buffer, which SO_SNDBUFFORCE raises as far as needed. A user
// namespace may not do that, so net.core.wmem_max limits it there (about 4,000 port elements with the default):
// EMSGSIZE.
#pragma once

#include <libmnl/libmnl.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "../namespaces/nsfile.h"
#include "../node/failure.h"

namespace cleat {

class Nfnl {
 public:
  using Handler = std::function<void(const nlmsghdr*)>;

  // The message that the kernel refused: its sequence number within the batch and, if the kernel reports it (extended
  // ack), the offset of the attribute at fault from the start of the message. Sequence 0 is the batch as a whole.
  struct Refusal {
    int error = 0;
    uint32_t sequence = 0;
    uint32_t offset = 0;
  };

  // home: the open network namespace of the threads that use this object; it outlives this object.
  explicit Nfnl(int home) : home_(home) {}
  ~Nfnl();
  // Closes the socket. The next request opens it again.
  void Close();
  Nfnl(const Nfnl&) = delete;
  Nfnl& operator=(const Nfnl&) = delete;

  // Sends messages numbered 0, 1, 2 ... (they are renumbered here), of which at least one has NLM_F_ACK, and reads all
  // answers. `acks` (may be null) receives the number of requests answered with success. The returned failure is about
  // the socket; `refusal` is what the kernel refused.
  Failure Commit(std::string* messages, Refusal* refusal, size_t* acks = nullptr);

  // Returns the socket's netlink port, which the kernel puts on the announcements of our transactions (nlmsg_pid).
  Failure Port(uint32_t* port);
  // Returns true if a port in that namespace belongs to a socket of this process. Any thread.
  static bool IsOurs(const Identity& netns, uint32_t port);

  // Sends one request (with or without NLM_F_DUMP) and passes its answers to the handler. EINTR: the dump was
  // interrupted and its answers are not consistent, so start over. An error answer becomes the failure, about `object`.
  Failure Request(nlmsghdr* request, const char* name, const std::string& object, const Handler& handler);

 private:
  Failure Open();
  Failure Reserve(size_t bytes);

  const int home_;
  Identity netns_;  // identity of home, once open
  mnl_socket* socket_ = nullptr;
  size_t reserved_ = 0;
  uint32_t sequence_ = 0;
};

// Repeats requests that belong together until none was interrupted. Returns EAGAIN if somebody changes the kernel's
// tables faster than they can be read. Waits a little longer each time, 120 ms in all.
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
