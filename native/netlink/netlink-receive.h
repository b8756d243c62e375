// netlink-receive.h: reads the kernel's datagrams on a netlink socket, and nobody else's.
//
// Guarantees: only datagrams of the kernel are returned, and whole ones. A process with CAP_NET_ADMIN in the namespace,
// which may be a user's own, can write to the socket as well (netlink_sendmsg): its datagrams are dropped unread.
#pragma once

#include <sys/types.h>

#include <vector>

namespace cleat {

// Returns the next datagram's size, or -1 with errno (recv(2)); EMSGSIZE for a datagram that is larger than the buffer.
// flags: 0 or MSG_DONTWAIT.
ssize_t ReceiveFromKernel(int fd, std::vector<char>& buffer, int flags);

}  // namespace cleat
