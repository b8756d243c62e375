// nfnl.cc: see nfnl.h. Relies on nfnetlink working synchronously: when sendmsg returns, everything was done and every
// answer is in the socket (kernel, net/netfilter/nfnetlink.c, nfnetlink_rcv).
#include "nfnl.h"

#include <sys/socket.h>

#include <cerrno>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "../netlink/netlink-receive.h"
#include "../netlink/nlattr.h"

namespace cleat {
namespace {

constexpr size_t kReceive = 1 << 16;

// Returns the offset that the kernel put in an error answer (NLMSGERR_ATTR_OFFS), 0 for none. With NETLINK_CAP_ACK the
// attributes follow the header of the request directly (netlink.h, struct nlmsgerr).
uint32_t OffsetOf(const nlmsghdr* answer) {
  if (!(answer->nlmsg_flags & NLM_F_ACK_TLVS)) return 0;
  uint32_t offset = 0;
  EachAttribute(answer, sizeof(nlmsgerr), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_OFFS) offset = NumberOf<uint32_t>(attribute).value_or(0);
  });
  return offset;
}

// The ports of this process's sockets. A port belongs to one socket only within its namespace.
using OwnPort = std::tuple<double, double, uint32_t>;

OwnPort KeyOf(const Identity& netns, uint32_t port) {
  return {netns.dev, netns.ino, port};
}

std::mutex& PortsMutex() {
  static auto& mutex = *new std::mutex;
  return mutex;
}

std::set<OwnPort>& Ports() {  // guarded by PortsMutex
  static auto& ports = *new std::set<OwnPort>;
  return ports;
}

}  // namespace

Nfnl::~Nfnl() {
  Close();
}

void Nfnl::Close() {
  if (socket_ == nullptr) return;
  {
    std::lock_guard<std::mutex> lock(PortsMutex());
    Ports().erase(KeyOf(netns_, mnl_socket_get_portid(socket_)));
  }
  mnl_socket_close(socket_);
  socket_ = nullptr;
}

Failure Nfnl::Port(uint32_t* port) {
  if (Failure failure = Open()) return failure;
  *port = mnl_socket_get_portid(socket_);
  return {};
}

bool Nfnl::IsOurs(const Identity& netns, uint32_t port) {
  std::lock_guard<std::mutex> lock(PortsMutex());
  return Ports().count(KeyOf(netns, port)) != 0;
}

Failure Nfnl::Open() {
  if (socket_ != nullptr) return {};
  if (Failure failure = IdentifyNetns(home_, "nfnetlink", &netns_)) return failure;
  socket_ = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (socket_ == nullptr) return {errno, "socket", "NETLINK_NETFILTER"};
  if (mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) != 0) {
    Failure failure{errno, "bind", "NETLINK_NETFILTER"};
    mnl_socket_close(socket_);
    socket_ = nullptr;
    return failure;
  }
  // Errors come without the request they answer, but with the attribute at fault.
  int on = 1;
  mnl_socket_setsockopt(socket_, NETLINK_CAP_ACK, &on, sizeof on);
  mnl_socket_setsockopt(socket_, NETLINK_EXT_ACK, &on, sizeof on);
  // Every message of a batch may be refused with an answer of its own, and all answers are queued before sendmsg
  // returns.
  const int receive = 1 << 20;
  setsockopt(mnl_socket_get_fd(socket_), SOL_SOCKET, SO_RCVBUFFORCE, &receive, sizeof receive);
  std::lock_guard<std::mutex> lock(PortsMutex());
  Ports().insert(KeyOf(netns_, mnl_socket_get_portid(socket_)));
  return {};
}

// netlink_sendmsg refuses (EMSGSIZE) a message larger than the send buffer; setsockopt doubles the value it is given.
Failure Nfnl::Reserve(size_t bytes) {
  if (bytes <= reserved_) return {};
  const int fd = mnl_socket_get_fd(socket_);
  const int size = static_cast<int>(bytes + 4096);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) != 0 &&
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) != 0) {
    return {errno, "setsockopt", "SO_SNDBUF"};
  }
  reserved_ = bytes;
  return {};
}

Failure Nfnl::Commit(std::string* messages, Refusal* refusal, size_t* acks) {
  if (Failure failure = Open()) return failure;
  if (Failure failure = Reserve(messages->size())) return failure;
  const uint32_t first = sequence_ + 1;
  uint32_t count = 0;
  EachMessage(messages->data(), messages->size(), [&](const nlmsghdr* header) {
    const_cast<nlmsghdr*>(header)->nlmsg_seq += first;
    count++;
    return true;
  });
  sequence_ += count;
  if (mnl_socket_sendto(socket_, messages->data(), messages->size()) < 0) return {errno, "sendmsg", "nfnetlink"};

  // nfnetlink does its work within sendmsg, so all answers are in the socket by now: read until it is empty.
  std::vector<char> buffer(kReceive);
  size_t acknowledged = 0;
  bool answered = false;
  for (;;) {
    const ssize_t size = ReceiveFromKernel(mnl_socket_get_fd(socket_), buffer, MSG_DONTWAIT);
    if (size < 0 && errno == EAGAIN) break;
    if (size < 0 && errno == ENOBUFS) continue;  // so many refusals that some were lost: the first one was not
    if (size < 0) return {errno, "recvmsg", "nfnetlink"};
    EachMessage(buffer.data(), static_cast<size_t>(size), [&](const nlmsghdr* answer) {
      const uint32_t index = answer->nlmsg_seq - first;  // right across a wrap of the counter, too
      if (answer->nlmsg_type != NLMSG_ERROR || index >= count) return true;
      answered = true;
      const int error = ErrorOf(answer);
      if (error == 0) {
        acknowledged++;
      } else if (refusal->error == 0) {
        *refusal = {error, index, OffsetOf(answer)};
      }
      return true;
    });
  }
  if (acks != nullptr) *acks = acknowledged;
  if (!answered) return {ENOBUFS, "recvmsg", "nfnetlink"};
  return {};
}

Failure Nfnl::Request(nlmsghdr* request, const char* name, const std::string& object, const Handler& handler) {
  const bool dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  if (Failure failure = Open()) return failure;
  request->nlmsg_seq = ++sequence_;
  if (mnl_socket_sendto(socket_, request, request->nlmsg_len) < 0) return {errno, "sendmsg", object};
  std::vector<char> buffer(kReceive);
  bool interrupted = false;
  for (;;) {
    const ssize_t size = ReceiveFromKernel(mnl_socket_get_fd(socket_), buffer, 0);
    if (size < 0) return {errno, "recvmsg", object};
    std::optional<Failure> end;
    EachMessage(buffer.data(), static_cast<size_t>(size), [&](const nlmsghdr* answer) {
      if (answer->nlmsg_seq != request->nlmsg_seq) return true;
      // A single answer is always consistent.
      if (dump && (answer->nlmsg_flags & NLM_F_DUMP_INTR)) interrupted = true;
      if (answer->nlmsg_type != NLMSG_ERROR && answer->nlmsg_type != NLMSG_DONE) {
        handler(answer);
        return true;
      }
      if (const int error = ErrorOf(answer)) {
        end = Failure{error, name, object};
      } else {
        end = interrupted ? Failure{EINTR, name, object} : Failure{};
      }
      return false;
    });
    if (end) return *end;
  }
}

}  // namespace cleat
