// system-calls.h: the system calls that the keeper may make after its start. Made by scripts/system-calls.mjs from
// the calls that the tests cause. Calls that are allowed only with certain arguments are in rights.cc.
#pragma once

#include <sys/syscall.h>

#include "../processes/confine.h"

namespace cleat_keeper {

constexpr cleat::SystemCall kSystemCalls[] = {
#ifdef SYS_brk
    {SYS_brk},
#endif
#ifdef SYS_clock_gettime
    {SYS_clock_gettime},
#endif
#ifdef SYS_close
    {SYS_close},
#endif
#ifdef SYS_exit
    {SYS_exit},
#endif
#ifdef SYS_exit_group
    {SYS_exit_group},
#endif
#ifdef SYS_fallocate
    {SYS_fallocate},
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
#ifdef SYS_gettid
    {SYS_gettid},
#endif
#ifdef SYS_gettimeofday
    {SYS_gettimeofday},
#endif
#ifdef SYS_kill
    {SYS_kill},
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
#ifdef SYS_pidfd_send_signal
    {SYS_pidfd_send_signal},
#endif
#ifdef SYS_poll
    {SYS_poll},
#endif
#ifdef SYS_ppoll
    {SYS_ppoll},
#endif
#ifdef SYS_pread64
    {SYS_pread64},
#endif
#ifdef SYS_read
    {SYS_read},
#endif
#ifdef SYS_renameat
    {SYS_renameat},
#endif
#ifdef SYS_restart_syscall
    {SYS_restart_syscall},
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
#ifdef SYS_sched_yield
    {SYS_sched_yield},
#endif
#ifdef SYS_tgkill
    {SYS_tgkill},
#endif
#ifdef SYS_unlinkat
    {SYS_unlinkat},
#endif
#ifdef SYS_waitid
    {SYS_waitid},
#endif
#ifdef SYS_write
    {SYS_write},
#endif
};

}  // namespace cleat_keeper
