// netlink-receive.cc: see netlink-receive.h.
#include "netlink-receive.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

namespace cleat {

ssize_t ReceiveFromKernel(int fd, std::vector<char>& buffer, int flags) {
  for (;;) {
    sockaddr_nl from{};
    iovec part{buffer.data(), buffer.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t size = recvmsg(fd, &message, flags);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return -1;
    if (from.nl_pid != 0) continue;  // the kernel is port 0
    if ((message.msg_flags & MSG_TRUNC) == 0) return size;
    errno = EMSGSIZE;
    return -1;
  }
}

}  // namespace cleat
