// system-calls.h: the system calls that the forwarder may make after its start. Made by scripts/system-calls.mjs from
// the calls that the tests cause. Calls that are allowed only with certain arguments are in rights.cc.
#pragma once

#include <sys/syscall.h>

#include "../processes/confine.h"

namespace cleat_forwarder {

constexpr cleat::SystemCall kSystemCalls[] = {
#ifdef SYS_accept4
    {SYS_accept4},
#endif
#ifdef SYS_bind
    {SYS_bind},
#endif
#ifdef SYS_brk
    {SYS_brk},
#endif
#ifdef SYS_clock_gettime
    {SYS_clock_gettime},
#endif
#ifdef SYS_close
    {SYS_close},
#endif
#ifdef SYS_connect
    {SYS_connect},
#endif
#ifdef SYS_epoll_create1
    {SYS_epoll_create1},
#endif
#ifdef SYS_epoll_ctl
    {SYS_epoll_ctl},
#endif
#ifdef SYS_epoll_pwait
    {SYS_epoll_pwait},
#endif
#ifdef SYS_epoll_wait
    {SYS_epoll_wait},
#endif
#ifdef SYS_eventfd2
    {SYS_eventfd2},
#endif
#ifdef SYS_exit
    {SYS_exit},
#endif
#ifdef SYS_exit_group
    {SYS_exit_group},
#endif
#ifdef SYS_fcntl
    {SYS_fcntl},
#endif
#ifdef SYS_fstatfs
    {SYS_fstatfs},
#endif
#ifdef SYS_futex
    {SYS_futex},
#endif
#ifdef SYS_getpid
    {SYS_getpid},
#endif
#ifdef SYS_getrandom
    {SYS_getrandom},
#endif
#ifdef SYS_getsockopt
    {SYS_getsockopt},
#endif
#ifdef SYS_gettid
    {SYS_gettid},
#endif
#ifdef SYS_gettimeofday
    {SYS_gettimeofday},
#endif
#ifdef SYS_ioctl
    {SYS_ioctl},
#endif
#ifdef SYS_listen
    {SYS_listen},
#endif
#ifdef SYS_madvise
    {SYS_madvise},
#endif
#ifdef SYS_mremap
    {SYS_mremap},
#endif
#ifdef SYS_munmap
    {SYS_munmap},
#endif
#ifdef SYS_newfstatat
    {SYS_newfstatat},
#endif
#ifdef SYS_openat
    {SYS_openat},
#endif
#ifdef SYS_pidfd_open
    {SYS_pidfd_open},
#endif
#ifdef SYS_pipe2
    {SYS_pipe2},
#endif
#ifdef SYS_poll
    {SYS_poll},
#endif
#ifdef SYS_ppoll
    {SYS_ppoll},
#endif
#ifdef SYS_prlimit64
    {SYS_prlimit64},
#endif
#ifdef SYS_pwrite64
    {SYS_pwrite64},
#endif
#ifdef SYS_read
    {SYS_read},
#endif
#ifdef SYS_recvfrom
    {SYS_recvfrom},
#endif
#ifdef SYS_recvmmsg
    {SYS_recvmmsg},
#endif
#ifdef SYS_recvmsg
    {SYS_recvmsg},
#endif
#ifdef SYS_restart_syscall
    {SYS_restart_syscall},
#endif
#ifdef SYS_rseq
    {SYS_rseq},
#endif
#ifdef SYS_rt_sigaction
    {SYS_rt_sigaction},
#endif
#ifdef SYS_rt_sigprocmask
    {SYS_rt_sigprocmask},
#endif
#ifdef SYS_rt_sigreturn
    {SYS_rt_sigreturn},
#endif
#ifdef SYS_sched_getaffinity
    {SYS_sched_getaffinity},
#endif
#ifdef SYS_sched_yield
    {SYS_sched_yield},
#endif
#ifdef SYS_sendmsg
    {SYS_sendmsg},
#endif
#ifdef SYS_sendto
    {SYS_sendto},
#endif
#ifdef SYS_set_robust_list
    {SYS_set_robust_list},
#endif
#ifdef SYS_setsockopt
    {SYS_setsockopt},
#endif
#ifdef SYS_shutdown
    {SYS_shutdown},
#endif
#ifdef SYS_socket
    {SYS_socket},
#endif
#ifdef SYS_splice
    {SYS_splice},
#endif
#ifdef SYS_tgkill
    {SYS_tgkill},
#endif
#ifdef SYS_unlinkat
    {SYS_unlinkat},
#endif
#ifdef SYS_write
    {SYS_write},
#endif
};

}  // namespace cleat_forwarder
