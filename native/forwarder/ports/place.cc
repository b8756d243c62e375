// place.cc: see place.h.
#include "place.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "../../namespaces/nsfile.h"
#include "../keep.h"

namespace cleat_forwarder {

namespace {

int home = -1;
// False in an ordinary user's user namespace: its capabilities do not count in the network namespace that we listen in.
bool may_come_home = true;

// A thread that goes from one namespace to the next, for another thread that could not come home. It is at work while
// the other one waits.
class Visitor {
 public:
  Visitor() {
    std::thread([this] { Run(); }).detach();
  }

  // Returns setns(2)'s error. The objects of `work` are the caller's.
  int Enter(int netns, const std::function<void()>& work) {
    std::promise<int> done;
    {
      std::lock_guard lock(mutex_);
      next_ = [&] {
        const int error = setns(netns, CLONE_NEWNET) == 0 ? 0 : errno;
        if (error == 0) work();
        done.set_value(error);
      };
    }
    wake_.notify_one();
    return done.get_future().get();
  }

 private:
  [[noreturn]] void Run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return next_ != nullptr; });
      const std::function<void()> work = std::exchange(next_, nullptr);
      lock.unlock();
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void()> next_;  // guarded by mutex_
};

// Returns the visitor of this thread. It lives as long as the process, as the threads that need one do.
Visitor& OwnVisitor() {
  static thread_local Visitor* visitor = new Visitor;
  return *visitor;
}

// Does the work in a namespace. Returns setns(2)'s error. errno is the work's.
int Inside(const UniqueFd& netns, const std::function<void()>& work) {
  if (!may_come_home) return OwnVisitor().Enter(netns.get(), work);
  if (setns(netns.get(), CLONE_NEWNET) != 0) return errno;
  work();
  // Without this, ports would be opened, and connections made, in a container from here on.
  if (setns(home, CLONE_NEWNET) != 0) std::abort();
  return 0;
}

}  // namespace

Failure RememberHome() {
  home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) return {errno, "open"};
  may_come_home = setns(home, CLONE_NEWNET) == 0;
  if (!may_come_home && errno != EPERM) return {errno, "setns"};
  return {};
}

Place::~Place() {
  if (!keeps_v4_ && !keeps_v6_) return;
  UniqueFd netns;
  if (Open(&netns)) return;
  Inside(netns, [] { StopKeeping(); });
}

Failure Place::Open(UniqueFd* netns) const {
  UniqueFd fd;
  if (Failure failure = cleat::OpenNetns(path_, &fd)) return failure;
  struct stat status;
  if (fstat(fd.get(), &status) != 0) return {errno, "fstat"};
  if (status.st_dev != dev_ || status.st_ino != ino_) return {ESTALE, "fstat"};
  *netns = std::move(fd);
  return {};
}

Failure Place::Check() const {
  UniqueFd netns;
  return Open(&netns);
}

void Place::KeepSources() {
  UniqueFd netns;
  if (Open(&netns)) return;
  Inside(netns, [this] {
    keeps_v4_ = Keep(AF_INET);
    keeps_v6_ = Keep(AF_INET6);
  });
}

Failure Place::MakeSocket(sa_family_t family, int type, UniqueFd* out) const {
  UniqueFd netns;
  if (Failure failure = Open(&netns)) return failure;
  int failed = 0;
  const int error = Inside(netns, [&] {
    out->Reset(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    failed = *out ? 0 : errno;
  });
  if (error != 0) return {error, "setns"};
  return failed == 0 ? Failure{} : Failure{failed, "socket"};
}

}  // namespace cleat_forwarder
