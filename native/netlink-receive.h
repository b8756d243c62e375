// netlink-receive.h: what the kernel says on a netlink socket, and nobody else.
//
// Guarantees: only datagrams of the kernel are returned, and whole ones. Whoever has CAP_NET_ADMIN in the namespace,
// which a user's own may be, can write to the socket as well (netlink_sendmsg): that is dropped unread.
#pragma once

#include <sys/types.h>

#include <vector>

namespace cleat {

// The next datagram's size, or -1 with errno (recv(2)); EMSGSIZE for one that is larger than the buffer. flags:
// MSG_DONTWAIT.
ssize_t ReceiveFromKernel(int fd, std::vector<char>& buffer, int flags);

}  // namespace cleat
