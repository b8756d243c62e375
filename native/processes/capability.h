// capability.h: the capabilities of the calling thread, by system calls alone.
//
// Guarantees: nothing is allocated and no other thread is affected (capabilities belong to threads, capabilities(7)).
// This suits the child between clone(2) and execve(2), and small executables before they start threads.
// Limits: every function returns 0 or errno.
#pragma once

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace cleat {

// Bit n is capability n of linux/capability.h.
using Capabilities = uint64_t;

constexpr Capabilities CapabilityBit(int number) {
  return Capabilities{1} << number;
}

inline int ReadPermitted(Capabilities* permitted) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (syscall(SYS_capget, &header, data) != 0) return errno;
  *permitted = Capabilities{data[1].permitted} << 32 | data[0].permitted;
  return 0;
}

// Removes capabilities from the bounding set, so that no program executed later can have them. Needs CAP_SETPCAP.
inline int BoundCapabilities(Capabilities kept) {
  for (int number = 0; number < 64; number++) {
    int there = prctl(PR_CAPBSET_READ, number, 0, 0, 0);
    if (there < 0) return 0;  // the kernel knows no more
    if (there == 0 || (kept & CapabilityBit(number)) != 0) continue;
    if (prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) return errno;
  }
  return 0;
}

// Sets the permitted and effective capabilities to `kept`. With `inherited` it also sets the inheritable and ambient
// ones, which execve(2) keeps for a user other than root.
inline int SetCapabilities(Capabilities kept, bool inherited) {
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return errno;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
  for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
    auto half = static_cast<uint32_t>(kept >> (32 * i));
    data[i] = {half, half, inherited ? half : 0};
  }
  if (syscall(SYS_capset, &header, data) != 0) return errno;
  for (int number = 0; inherited && number < 64; number++) {
    if ((kept & CapabilityBit(number)) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0) return errno;
  }
  return 0;
}

// Changes to this user without supplementary groups, and keeps the permitted capabilities. It uses system calls,
// because the C library's functions would apply the change to every thread that they believe to be of this process, and
// before an execve(2) those are the parent's.
inline int BecomeUser(uid_t uid, gid_t gid) {
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return errno;
  if (syscall(SYS_setgroups, 0, nullptr) != 0) return errno;
  if (syscall(SYS_setresgid, gid, gid, gid) != 0) return errno;
  if (syscall(SYS_setresuid, uid, uid, uid) != 0) return errno;
  return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) != 0 ? errno : 0;
}

}  // namespace cleat
