// Tries what a process with the rights of the forwarder or the keeper may still do, and prints the results. For
// test/native/confine.test.ts.
//
//   confine-probe forwarder|keeper|foreign   one line a trial: NAME ERRNO-NAME, or NAME ok
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "../../native/forwarder/rights.h"
#include "../../native/keeper/rights.h"

namespace {

void Say(const char* name, long result) {
  std::string line = std::string(name) + " " + (result < 0 ? strerrorname_np(errno) : "ok") + "\n";
  [[maybe_unused]] ssize_t written = write(STDOUT_FILENO, line.data(), line.size());
}

void* Nothing(void*) {
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  std::string who = argc > 1 ? argv[1] : "";
  int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  cleat::Failure failure = who == "keeper" ? cleat_keeper::DropRights()
                                           : cleat_forwarder::DropRights(cleat_forwarder::ReadUser("65522:65522"));
  if (failure) {
    std::fprintf(stderr, "%s: %s\n", failure.syscall.c_str(), std::strerror(failure.error));
    return 1;
  }
#if defined(__x86_64__)
  if (who == "foreign") {
    Say("before", 0);
    // getpid of the 32-bit table, whose number is that of writev in ours.
    asm volatile("int $0x80" : : "a"(20) : "memory");
    Say("after", 0);
    return 0;
  }
  // getpid of x32 (__X32_SYSCALL_BIT).
  Say("x32", syscall(0x40000000 | SYS_getpid));
#endif
  char* const none[] = {nullptr};
  char byte[4096] __attribute__((aligned(4096)));
  Say("getpid", syscall(SYS_getpid));
  Say("execve", execve("/bin/true", none, none));
  Say("fork", syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  Say("clone3", syscall(SYS_clone3, nullptr, 0));
  pthread_t thread;
  errno = pthread_create(&thread, nullptr, Nothing, nullptr);
  Say("thread", errno == 0 ? 0 : -1);
  Say("setns-net", syscall(SYS_setns, netns, CLONE_NEWNET));
  Say("setns-mount", syscall(SYS_setns, mounts, CLONE_NEWNS));
  Say("setns-any", syscall(SYS_setns, mounts, 0));
  Say("unshare", syscall(SYS_unshare, CLONE_NEWUSER));
  Say("mount", mount("none", "/tmp", "tmpfs", 0, nullptr));
  Say("ptrace", syscall(SYS_ptrace, PTRACE_ATTACH, 1, nullptr, nullptr));
  Say("read-other", syscall(SYS_process_vm_readv, 1, nullptr, 0, nullptr, 0, 0));
  Say("take-descriptor", syscall(SYS_pidfd_getfd, 0, 0, 0));
  Say("bpf", syscall(SYS_bpf, 0, nullptr, 0));
  Say("module", syscall(SYS_finit_module, 0, "", 0));
  Say("key", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  Say("uring", syscall(SYS_io_uring_setup, 1, nullptr));
  Say("become-root", syscall(SYS_setresuid, 0, 0, 0));
  Say("more-capabilities", syscall(SYS_capset, nullptr, nullptr));
  Say("code", mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
  Say("memory", mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0);
  Say("stack-code", mprotect(byte, sizeof byte, PROT_READ | PROT_WRITE | PROT_EXEC));
  return 0;
}
