/*
 * A kernel that was booted with ipv6.disable=1, for one process: loaded by LD_PRELOAD.
 *
 * Guarantees: no socket of that family, no switch of it, and no list of its addresses, by the errors that such a kernel
 * has. Limits: rtnetlink knows IPv6 still, so what would be refused there has to be refused before.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

int socket(int domain, int type, int protocol) {
  static __typeof__(socket)* next;
  if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, "socket");
  if (domain != AF_INET6) return next(domain, type, protocol);
  errno = EAFNOSUPPORT;
  return -1;
}

static int is_gone(const char* path) {
  static const char switches[] = "/proc/sys/net/ipv6";
  return strncmp(path, switches, sizeof switches - 1) == 0 || strstr(path, "/net/if_inet6") != NULL;
}

#define OPEN(name)                                              \
  int name(const char* path, int flags, ...) {                  \
    static int (*next)(const char*, int, ...);                  \
    if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, #name); \
    va_list rest;                                               \
    va_start(rest, flags);                                      \
    mode_t mode = va_arg(rest, mode_t);                         \
    va_end(rest);                                               \
    if (!is_gone(path)) return next(path, flags, mode);         \
    errno = ENOENT;                                             \
    return -1;                                                  \
  }

OPEN(open)
OPEN(open64)
/* What a call becomes that _FORTIFY_SOURCE checks. */
OPEN(__open64_2)
