/*
 * Stands between the daemon and the C library, and makes the n-th call of a kind go wrong. LD_PRELOAD loads it into the
 * daemon as it is shipped (test/harness/faults.ts builds it, and gives the orders).
 *
 * Guarantees: without an order every call is the library's. Only calls made for containers are counted: netlink
 * sockets, files below the directories of the daemon, net/ below /proc/sys, namespaces, helper processes. Node's own
 * (its event loop, its modules, its log, the API's socket) are not. A refusal is what the kernel would have sent
 * (NLMSG_ERROR with the request's sequence number), a lost answer is what the kernel makes of it (ENOBUFS from
 * netlink_overrun), so the code under test cannot tell the difference. Limits: x86-64 and arm64 with glibc; calls that
 * go by other names (writev, renameat2, io_uring) pass uncounted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

/* In the order of KINDS and ACTIONS in test/harness/faults.ts. */
enum kind { NO_KIND, REQUEST, ANSWER, NEWS, STORE, SWITCH, NAMESPACE, SOCKET, HELPER };
enum action { NOTHING, FAIL, BREAK, LOSE, INTERRUPT, AFTER, FULL, DELAY, HOLD };

/* The file that CLEAT_FAULTS names, mapped by both sides. */
struct order {
  _Atomic uint32_t armed;
  uint32_t kind;
  uint32_t first, last; /* the calls that go wrong, counted from 1 */
  uint32_t action;
  int32_t argument; /* an errno, or milliseconds */
  _Atomic uint32_t count;
  _Atomic uint32_t hit;
  _Atomic uint32_t released;
  int32_t clock; /* seconds that CLOCK_REALTIME is off, at all times */
  char what[216];
  char about[128]; /* calls without this in their text are not counted */
};

#define FDS 4096

static struct order* order;
static const char *run_dir, *state_dir, *netns_dir;
static struct {
  unsigned char kind; /* REQUEST for a netlink socket of ours, NEWS for one that listens */
  unsigned char lost;
  unsigned char refused;
  struct {
    struct nlmsghdr header;
    struct nlmsgerr error;
  } refusal;
  char path[160];
} files[FDS];

#define NEXT(name)               \
  static __typeof__(name)* next; \
  if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
  const char* path = getenv("CLEAT_FAULTS");
  run_dir = getenv("CLEAT_FAULTS_RUN");
  state_dir = getenv("CLEAT_FAULTS_STATE");
  netns_dir = getenv("CLEAT_FAULTS_NETNS");
  if (path == NULL || run_dir == NULL || state_dir == NULL || netns_dir == NULL) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  void* map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *order, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    perror("CLEAT_FAULTS");
    _exit(1);
  }
  close(fd);
  order = map;
}

static int below(const char* path, const char* directory) {
  size_t length = directory == NULL ? 0 : strlen(directory);
  return length > 0 && strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static enum kind kind_of(const char* path) {
  if (order == NULL || path == NULL) return NO_KIND;
  if (strncmp(path, "/proc/sys/net/", 14) == 0) return SWITCH;
  if (below(path, netns_dir) || below(path, "/run/netns") || strstr(path, "/ns/net") != NULL) return NAMESPACE;
  if (below(path, run_dir) || below(path, state_dir)) return STORE;
  return NO_KIND;
}

static enum kind kind_of_fd(int fd) {
  return fd >= 0 && fd < FDS ? files[fd].kind : NO_KIND;
}
static const char* path_of_fd(int fd) {
  return fd >= 0 && fd < FDS ? files[fd].path : "";
}

static void remember(int fd, enum kind kind, const char* path) {
  if (fd < 0 || fd >= FDS) return;
  memset(&files[fd], 0, sizeof files[fd]);
  files[fd].kind = kind;
  snprintf(files[fd].path, sizeof files[fd].path, "%s", path);
}

static void pause_ms(long ms) {
  struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&wait, &wait) != 0 && errno == EINTR) continue;
}

/* Returns what has to happen to this call. Waits are over when it returns. */
static enum action decide(enum kind kind, const char* call, const char* object) {
  if (order == NULL || kind == NO_KIND || !order->armed || order->kind != kind) return NOTHING;
  char text[sizeof order->what];
  snprintf(text, sizeof text, "%s %s", call, object);
  if (strstr(text, order->about) == NULL) return NOTHING;
  uint32_t n = atomic_fetch_add(&order->count, 1) + 1;
  if (n < order->first || n > order->last) return NOTHING;
  if (n == order->first) memcpy(order->what, text, sizeof text);
  order->hit = 1;
  if (order->action == DELAY) pause_ms(order->argument);
  for (int i = 0; order->action == HOLD && !order->released && i < 60000; i++) pause_ms(1);
  return order->action == DELAY || order->action == HOLD ? NOTHING : order->action;
}

/* For calls that either happen or do not: returns 1 if the call must not happen (errno is set). */
static int fails(enum action action) {
  if (action == NOTHING || action == AFTER) return 0;
  errno = order->argument;
  return 1;
}

/* Returns the result that the caller gets for a call that has happened. */
static int told(enum action action, int result) {
  if (action != AFTER || result < 0) return result;
  errno = order->argument;
  return -1;
}

/* --- Files ------------------------------------------------------------------------------------------------------- */

static int opened(int (*next)(const char*, int, ...), const char* path, int flags, mode_t mode) {
  enum kind kind = kind_of(path);
  enum action action = decide(kind, "open", path);
  if (action == FULL && !(flags & O_CREAT)) action = NOTHING;
  if (fails(action)) return -1;
  int fd = next(path, flags, mode);
  if (fd < 0) return fd;
  if (action == AFTER)
    close(fd);
  else
    remember(fd, kind, kind == NO_KIND ? "" : path);
  return told(action, fd);
}

#define OPEN(name)                             \
  int name(const char* path, int flags, ...) { \
    NEXT(name);                                \
    va_list list;                              \
    va_start(list, flags);                     \
    mode_t mode = va_arg(list, unsigned int);  \
    va_end(list);                              \
    return opened(next, path, flags, mode);    \
  }
OPEN(open)
OPEN(open64)

/* The name of open(2) in code that was compiled with _FORTIFY_SOURCE and makes no file. */
int __open_2(const char* path, int flags) {
  NEXT(open);
  return opened(next, path, flags, 0);
}
int __open64_2(const char* path, int flags) {
  NEXT(open64);
  return opened(next, path, flags, 0);
}

/* Descriptor numbers are used again, and the C library closes some files by itself (closedir, fclose). */
static enum kind kind_of_file(int fd) {
  struct stat status;
  enum kind kind = kind_of_fd(fd);
  if (kind != STORE && kind != SWITCH) return NO_KIND;
  return fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)) ? kind : NO_KIND;
}

int close(int fd) {
  NEXT(close);
  if (fd >= 0 && fd < FDS) files[fd].kind = NO_KIND;
  return next(fd);
}

/* Returns true if the write happens. `all`: 0 if the disk is full, and only a part of the data fits. */
static int writes(int fd, size_t size, enum action* action, int* all) {
  *action = decide(kind_of_file(fd), "write", path_of_fd(fd));
  /* A disk that is nearly full takes a part of the data and calls that success. */
  *all = !(*action == FULL && order->count == order->first && size > 1);
  return !*all || !fails(*action);
}

static ssize_t wrote(enum action action, ssize_t written) {
  return action == AFTER && written >= 0 ? told(action, 0) : written;
}

ssize_t write(int fd, const void* data, size_t size) {
  NEXT(write);
  enum action action;
  int all;
  return writes(fd, size, &action, &all) ? wrote(action, next(fd, data, all ? size : size / 2)) : -1;
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) {
  NEXT(pwrite64);
  enum action action;
  int all;
  return writes(fd, size, &action, &all) ? wrote(action, next(fd, data, all ? size : size / 2, at)) : -1;
}

ssize_t read(int fd, void* data, size_t size) {
  NEXT(read);
  if (kind_of_file(fd) == SWITCH && fails(decide(SWITCH, "read", path_of_fd(fd)))) return -1;
  return next(fd, data, size);
}

int fsync(int fd) {
  NEXT(fsync);
  enum action action = decide(kind_of_file(fd), "fsync", path_of_fd(fd));
  return action == FULL ? next(fd) : fails(action) ? -1 : told(action, next(fd));
}

int rename(const char* from, const char* to) {
  NEXT(rename);
  enum action action = decide(kind_of(to), "rename", to);
  return action == FULL ? next(from, to) : fails(action) ? -1 : told(action, next(from, to));
}

int mkdir(const char* path, mode_t mode) {
  NEXT(mkdir);
  enum action action = decide(kind_of(path), "mkdir", path);
  return fails(action) ? -1 : told(action, next(path, mode));
}

#define REMOVE(name)                                                                    \
  int name(const char* path) {                                                          \
    NEXT(name);                                                                         \
    enum action action = decide(kind_of(path), #name, path);                            \
    return action == FULL ? next(path) : fails(action) ? -1 : told(action, next(path)); \
  }
REMOVE(unlink)
REMOVE(rmdir)

/* --- Namespaces, mounts, processes ------------------------------------------------------------------------------- */

int setns(int fd, int type) {
  NEXT(setns);
  return fails(decide(NAMESPACE, "setns", "")) ? -1 : next(fd, type);
}

int unshare(int flags) {
  NEXT(unshare);
  return fails(decide(NAMESPACE, "unshare", "")) ? -1 : next(flags);
}

int mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) {
  NEXT(mount);
  return fails(decide(NAMESPACE, "mount", target)) ? -1 : next(source, target, type, flags, data);
}

int umount2(const char* target, int flags) {
  NEXT(umount2);
  return fails(decide(NAMESPACE, "umount", target)) ? -1 : next(target, flags);
}

int statfs64(const char* path, struct statfs64* answer) {
  NEXT(statfs64);
  if (kind_of(path) == NAMESPACE && fails(decide(NAMESPACE, "statfs", path))) return -1;
  return next(path, answer);
}

int fstatfs64(int fd, struct statfs64* answer) {
  NEXT(fstatfs64);
  if (kind_of_fd(fd) == NAMESPACE && fails(decide(NAMESPACE, "fstatfs", path_of_fd(fd)))) return -1;
  return next(fd, answer);
}

int pipe2(int ends[2], int flags) {
  NEXT(pipe2);
  return fails(decide(HELPER, "pipe2", "")) ? -1 : next(ends, flags);
}

int clone(int (*body)(void*), void* stack, int flags, void* argument, ...) {
  NEXT(clone);
  va_list list;
  va_start(list, argument);
  void* parent = va_arg(list, void*);
  va_end(list);
  return fails(decide(HELPER, "clone", "")) ? -1 : next(body, stack, flags, argument, parent);
}

int execve(const char* file, char* const argv[], char* const envp[]) {
  NEXT(execve);
  return fails(decide(HELPER, "execve", file)) ? -1 : next(file, argv, envp);
}

long syscall(long number, ...) {
  NEXT(syscall);
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
  long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number == SYS_pidfd_open && fails(decide(HELPER, "pidfd_open", ""))) return -1;
  if (number == SYS_pidfd_send_signal && fails(decide(HELPER, "pidfd_send_signal", ""))) return -1;
  return next(number, a, b, c, d, e, f);
}

/* --- Sockets ----------------------------------------------------------------------------------------------------- */

int socket(int family, int type, int protocol) {
  NEXT(socket);
  int ours = family == AF_NETLINK || family == AF_INET || family == AF_INET6 ||
             (family == AF_UNIX && (type & 0xf) == SOCK_DGRAM);
  if (fails(decide(ours ? SOCKET : NO_KIND, "socket", family == AF_NETLINK ? "netlink" : ""))) return -1;
  int fd = next(family, type, protocol);
  remember(fd, family == AF_NETLINK ? REQUEST : ours ? SOCKET : NO_KIND, "");
  return fd;
}

int bind(int fd, const struct sockaddr* name, socklen_t size) {
  NEXT(bind);
  const char* family = name->sa_family == AF_NETLINK ? "netlink" : "port";
  if (fails(decide(kind_of_fd(fd) == NO_KIND ? NO_KIND : SOCKET, "bind", family))) return -1;
  int result = next(fd, name, size);
  if (kind_of_fd(fd) == REQUEST && ((const struct sockaddr_nl*)name)->nl_groups != 0) files[fd].kind = NEWS;
  return result;
}

int ioctl(int fd, unsigned long request, ...) {
  NEXT(ioctl);
  va_list list;
  va_start(list, request);
  void* argument = va_arg(list, void*);
  va_end(list);
  enum kind kind = request == NS_GET_NSTYPE                                                        ? NAMESPACE
                   : request == SIOCGIFINDEX || request == SIOCGIFFLAGS || request == SIOCSIFFLAGS ? SOCKET
                                                                                                   : NO_KIND;
  return fails(decide(kind, "ioctl", "")) ? -1 : next(fd, request, argument);
}

static void refuse(int fd, const struct nlmsghdr* request) {
  files[fd].refused = 1;
  files[fd].refusal.header = (struct nlmsghdr){.nlmsg_len = sizeof files[fd].refusal,
                                               .nlmsg_type = NLMSG_ERROR,
                                               .nlmsg_flags = NLM_F_CAPPED,
                                               .nlmsg_seq = request->nlmsg_seq,
                                               .nlmsg_pid = request->nlmsg_pid};
  files[fd].refusal.error = (struct nlmsgerr){-order->argument, *request};
}

/*
 * Sends messages one by one, but a transaction of nftables as one: it is done whole or not at all. A message of
 * rtnetlink is refused while those around it are done.
 */
static ssize_t sent(int fd, const char* data, size_t size, ssize_t (*out)(int, const void*, size_t)) {
  int rest = (int)size;
  const struct nlmsghdr* message = (const struct nlmsghdr*)data;
  int whole = NLMSG_OK(message, rest) && message->nlmsg_type == NFNL_MSG_BATCH_BEGIN;
  for (; NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) {
    char text[32];
    snprintf(text, sizeof text, "type %#x", whole ? NFNL_MSG_BATCH_BEGIN : message->nlmsg_type);
    enum action action = decide(REQUEST, "netlink", text);
    if (action == BREAK) return fails(action) ? -1 : 0;
    if (action == LOSE) files[fd].lost = 1;
    if (action == FAIL) {
      const char* end = (const char*)message + NLMSG_ALIGN(message->nlmsg_len);
      const struct nlmsghdr* second = (const struct nlmsghdr*)end;
      refuse(fd, whole && rest > (int)NLMSG_ALIGN(message->nlmsg_len) ? second : message);
      if (whole) return (ssize_t)size;
      const char* start = (const char*)message;
      if (start > data && out(fd, data, (size_t)(start - data)) < 0) return -1;
      if (end < data + size && out(fd, end, (size_t)(data + size - end)) < 0) return -1;
      return (ssize_t)size;
    }
    if (whole) break;
  }
  return out(fd, data, size);
}

static ssize_t to_kernel(int fd, const void* data, size_t size) {
  static ssize_t (*next)(int, const void*, size_t, int, const struct sockaddr*, socklen_t);
  if (next == NULL) *(void**)&next = dlsym(RTLD_NEXT, "sendto");
  struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
  return next(fd, data, size, 0, (struct sockaddr*)&kernel, sizeof kernel);
}

ssize_t sendto(int fd, const void* data, size_t size, int flags, const struct sockaddr* to, socklen_t length) {
  NEXT(sendto);
  return kind_of_fd(fd) == REQUEST ? sent(fd, data, size, to_kernel) : next(fd, data, size, flags, to, length);
}

static int interrupt(void* data, ssize_t size) {
  int interrupted = 0, rest = (int)size;
  for (struct nlmsghdr* message = data; NLMSG_OK(message, rest); message = NLMSG_NEXT(message, rest)) {
    if (!(message->nlmsg_flags & NLM_F_MULTI)) continue;
    message->nlmsg_flags |= NLM_F_DUMP_INTR;
    interrupted = 1;
  }
  return interrupted;
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
  NEXT(recvmsg);
  enum kind kind = kind_of_fd(fd);
  if (kind == NEWS) {
    ssize_t size = next(fd, message, flags);
    return size >= 0 && fails(decide(NEWS, "recvmsg", "")) ? -1 : size; /* what came in is lost */
  }
  if (kind != REQUEST) return next(fd, message, flags);
  if (files[fd].lost) {
    files[fd].lost = 0;
    while (next(fd, message, flags | MSG_DONTWAIT) >= 0) continue;
    errno = ENOBUFS;
    return -1;
  }
  if (files[fd].refused) {
    files[fd].refused = 0;
    memcpy(message->msg_iov[0].iov_base, &files[fd].refusal, sizeof files[fd].refusal);
    if (message->msg_name != NULL) *(struct sockaddr_nl*)message->msg_name = (struct sockaddr_nl){AF_NETLINK, 0, 0, 0};
    message->msg_flags = 0;
    message->msg_controllen = 0;
    return sizeof files[fd].refusal;
  }
  enum action action = decide(ANSWER, "recvmsg", "");
  if (action == FAIL) return fails(action) ? -1 : 0;
  ssize_t size = next(fd, message, flags);
  if (action == INTERRUPT && !interrupt(message->msg_iov[0].iov_base, size)) order->hit = 2; /* it is no dump */
  return size;
}

ssize_t recv(int fd, void* data, size_t size, int flags) {
  NEXT(recv);
  if (kind_of_fd(fd) != REQUEST) return next(fd, data, size, flags);
  struct iovec part = {data, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  return recvmsg(fd, &message, flags);
}

/* --- Clocks ------------------------------------------------------------------------------------------------------ */

int clock_gettime(clockid_t clock, struct timespec* now) {
  NEXT(clock_gettime);
  int result = next(clock, now);
  if (order != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += order->clock;
  return result;
}

int gettimeofday(struct timeval* restrict now, void* restrict zone) {
  NEXT(gettimeofday);
  int result = next(now, zone);
  if (order != NULL) now->tv_sec += order->clock;
  return result;
}

time_t time(time_t* where) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (where != NULL) *where = now.tv_sec;
  return now.tv_sec;
}
