// confine.cc: see confine.h.
#include "confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

namespace cleat {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// The system call table that the numbers belong to (AUDIT_ARCH_* of linux/audit.h), and where its numbers end. x32 has
// its own numbers above __X32_SYSCALL_BIT (asm/unistd.h), with the same AUDIT_ARCH.
#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
constexpr uint32_t kNumbersEnd = 0x40000000;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
constexpr uint32_t kNumbersEnd = UINT32_MAX;
#else
#error "the system call filter is written for x86_64 and aarch64"
#endif

// BPF_JMP offsets are a byte, so the filter has no jump further than over one entry.
class Filter {
 public:
  Filter() {
    Load(offsetof(seccomp_data, arch));
    ReturnUnless(BPF_JEQ, kArchitecture, SECCOMP_RET_KILL_PROCESS);
    Load(offsetof(seccomp_data, nr));
    Add(BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, kNumbersEnd, 0, 1));
    Return(kRefused);
    // The flags of clone3 are in memory, where no filter sees them. On ENOSYS the C library uses clone(2)
    // (pthread_create(3)).
    ReturnIf(SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
  }

  void Allow(const SystemCall& call) {
    auto number = static_cast<uint32_t>(call.number);
    if (call.argument < 0) return ReturnIf(number, SECCOMP_RET_ALLOW);
    // Five instructions for this one call. They decide it, so the accumulator need not be loaded again.
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 5));
    // Both architectures are little-endian: the lower half comes first.
    Load(static_cast<uint32_t>(offsetof(seccomp_data, args) + sizeof(uint64_t) * static_cast<size_t>(call.argument)));
    Add(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, call.mask));
    ReturnUnless(BPF_JEQ, call.value, kRefused);
    Return(SECCOMP_RET_ALLOW);
  }

  // Returns 0 or errno. It needs no capability after no_new_privs.
  int Install() {
    Return(kRefused);
    sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0 ? 0 : errno;
  }

 private:
  static constexpr uint32_t kRefused = SECCOMP_RET_ERRNO | EPERM;

  void Add(sock_filter instruction) { code_.push_back(instruction); }
  void Load(uint32_t offset) { Add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
  void Return(uint32_t verdict) { Add(BPF_STMT(BPF_RET | BPF_K, verdict)); }
  void ReturnIf(uint32_t value, uint32_t verdict) {
    Add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
    Return(verdict);
  }
  void ReturnUnless(uint16_t test, uint32_t value, uint32_t verdict) {
    Add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | test | BPF_K), value, 1, 0));
    Return(verdict);
  }

  std::vector<sock_filter> code_;
};

int SetLimit(decltype(RLIMIT_CORE) resource, rlim_t value) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0) return errno;
  limit.rlim_cur = limit.rlim_max = std::min(limit.rlim_max, value);
  return setrlimit(resource, &limit) == 0 ? 0 : errno;
}

}  // namespace

Failure Confine(const Confined& to) {
  if (kSanitized) return {};
  if (int error = SetLimit(RLIMIT_CORE, 0)) return {error, "setrlimit(RLIMIT_CORE)"};
  if (int error = SetLimit(RLIMIT_NOFILE, to.descriptors)) return {error, "setrlimit(RLIMIT_NOFILE)"};
  Capabilities permitted = 0;
  if (int error = ReadPermitted(&permitted)) return {error, "capget"};
  const Capabilities kept = permitted & to.capabilities;
  if (int error = BoundCapabilities(kept)) return {error, "prctl(PR_CAPBSET_DROP)"};
  if (to.user) {
    if (int error = BecomeUser(to.user->uid, to.user->gid)) return {error, "setresuid"};
  }
  if (int error = SetCapabilities(kept, false)) return {error, "capset"};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return {errno, "prctl(PR_SET_NO_NEW_PRIVS)"};
  Filter filter;
  // These programs never get executable memory, which could hold foreign code.
  filter.Allow({SYS_mmap, 2, PROT_EXEC, 0});
  filter.Allow({SYS_mprotect, 2, PROT_EXEC, 0});
  for (const SystemCall& call : to.calls) filter.Allow(call);
  if (int error = filter.Install()) return {error, "seccomp"};
  return {};
}

}  // namespace cleat
