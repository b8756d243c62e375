// Writes down the rtnetlink messages that a program sends, one line of hex digits each, in the file CLEAT_SENT: loaded
// before the C library (LD_PRELOAD), by child-links.test.ts.
//
// Guarantees: the program sends what it sends. Limits: a buffer with several messages is one line.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static void note(const unsigned char* bytes, size_t length) {
  const char* path = getenv("CLEAT_SENT");
  FILE* file = path == NULL ? NULL : fopen(path, "a");
  if (file == NULL) return;
  for (size_t i = 0; i < length; i++) fprintf(file, "%02x", bytes[i]);
  fputc('\n', file);
  fclose(file);
}

static int is_rtnetlink(int socket) {
  int domain = 0;
  int protocol = -1;
  socklen_t size = sizeof domain;
  if (getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_NETLINK) return 0;
  size = sizeof protocol;
  return getsockopt(socket, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) == 0 && protocol == NETLINK_ROUTE;
}

ssize_t sendto(int socket, const void* bytes, size_t length, int flags, __CONST_SOCKADDR_ARG to, socklen_t size) {
  ssize_t (*real)(int, const void*, size_t, int, __CONST_SOCKADDR_ARG, socklen_t) = dlsym(RTLD_NEXT, "sendto");
  if (is_rtnetlink(socket)) note(bytes, length);
  return real(socket, bytes, length, flags, to, size);
}

ssize_t send(int socket, const void* bytes, size_t length, int flags) {
  ssize_t (*real)(int, const void*, size_t, int) = dlsym(RTLD_NEXT, "send");
  if (is_rtnetlink(socket)) note(bytes, length);
  return real(socket, bytes, length, flags);
}

ssize_t sendmsg(int socket, const struct msghdr* message, int flags) {
  ssize_t (*real)(int, const struct msghdr*, int) = dlsym(RTLD_NEXT, "sendmsg");
  if (is_rtnetlink(socket)) {
    for (size_t i = 0; i < message->msg_iovlen; i++) note(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
  }
  return real(socket, message, flags);
}
