// rtnl-socket.cc: see rtnl-socket.h.
#include "rtnl-socket.h"

#include <linux/if.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "../netlink/netlink-receive.h"
#include "../netlink/nlattr.h"

namespace cleat {

// The kernel fills dump answers up to the largest receive it has seen, at most 32 KB (netlink_recvmsg, netlink_dump).
static constexpr size_t kReceiveSize = 32 * 1024;
static constexpr int kDumpAttempts = 16;

Failure RtnlSocket::Open() {
  if (fd_) return {};
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!fd) return {errno, "socket", "NETLINK_ROUTE"};
  // Acknowledgements then leave out the request, so that those of a full batch fit the receive buffer.
  int on = 1;
  setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  fd_ = std::move(fd);
  if (buffer_.empty()) buffer_.resize(kReceiveSize);
  return {};
}

Failure RtnlSocket::Send(const void* messages, size_t size, const char* name) {
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  ssize_t sent = sendto(fd_.get(), messages, size, 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
  if (sent < 0) return {errno, "sendto", name};
  if (static_cast<size_t>(sent) != size) return {EMSGSIZE, "sendto", name};
  return {};
}

Failure RtnlSocket::Receive(const char* name, const std::function<bool(const nlmsghdr*)>& each) {
  for (;;) {
    const ssize_t size = ReceiveFromKernel(fd_.get(), buffer_, 0);
    // EAGAIN: an answer was lost (see the header). It is reported as ENOBUFS, as EAGAIN would read as "try again
    // later".
    if (size < 0) return {errno == EAGAIN ? ENOBUFS : errno, "recvmsg", name};
    bool more = true;
    EachMessage(buffer_.data(), static_cast<size_t>(size), [&](const nlmsghdr* header) { return more = each(header); });
    if (!more) return {};
  }
}

Failure RtnlSocket::Ask(nlmsghdr* request, const char* name, int* error,
                        const std::function<void(const nlmsghdr*)>& take) {
  request->nlmsg_flags |= NLM_F_REQUEST;
  const uint32_t sequence = request->nlmsg_seq = NextSequence();
  *error = 0;
  if (Failure failure = Send(request, request->nlmsg_len, name)) return failure;
  return Receive(name, [&](const nlmsghdr* message) {
    if (message->nlmsg_seq != sequence) return true;
    if (message->nlmsg_type == NLMSG_ERROR) {
      *error = ErrorOf(message);
    } else {
      take(message);
    }
    return false;
  });
}

Failure RtnlSocket::DumpOnce(nlmsghdr* request, const char* name, const std::function<void(const nlmsghdr*)>& each,
                             bool* interrupted) {
  request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request->nlmsg_seq = NextSequence();
  if (Failure failure = Send(request, request->nlmsg_len, name)) return failure;
  int error = 0;
  Failure failure = Receive(name, [&](const nlmsghdr* header) {
    if (header->nlmsg_seq != request->nlmsg_seq) return true;
    if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) *interrupted = true;
    if (header->nlmsg_type == NLMSG_ERROR || header->nlmsg_type == NLMSG_DONE) {
      error = ErrorOf(header);
      return false;
    }
    if (header->nlmsg_type >= NLMSG_MIN_TYPE) each(header);
    return true;
  });
  if (failure) return failure;
  if (error != 0) return {error, name, ""};
  return {};
}

Failure RtnlSocket::Dump(nlmsghdr* request, const char* name, const std::function<void()>& reset,
                         const std::function<void(const nlmsghdr*)>& each) {
  for (int attempt = 0; attempt < kDumpAttempts; attempt++) {
    bool interrupted = false;
    reset();
    Failure failure = DumpOnce(request, name, each, &interrupted);
    if (failure || !interrupted) return failure;
  }
  return {EINTR, name, "dump"};
}

int RtnlSocket::IndexOf(const std::string& name, int* index) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return ENAMETOOLONG;
  memcpy(request.ifr_name, name.c_str(), name.size());
  // The ioctl is answered for any socket, by the socket's own namespace, and takes no RTNL lock (dev_ioctl).
  if (ioctl(fd_.get(), SIOCGIFINDEX, &request) != 0) return errno;
  *index = request.ifr_ifindex;
  return 0;
}

}  // namespace cleat
