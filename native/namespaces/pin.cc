// pin.cc: see pin.h.
#include "pin.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "../fd.h"
#include "../netlink/link-flags.h"
#include "../node/input.h"
#include "netns.h"
#include "nsfile.h"
#include "sysctl.h"

namespace cleat {

namespace {

// The path of a pin that is being made: Take creates it, the destructor removes it unless it was kept.
class Place {
 public:
  explicit Place(const std::string& path) : path_(path) {}
  ~Place() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    if (taken_) unlink(path_.c_str());
  }

  Failure Take() {
    UniqueFd placeholder(open(path_.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!placeholder) return {errno, "open", path_};
    taken_ = true;
    return {};
  }

  Failure Mount(const std::string& source) {
    if (mount(source.c_str(), path_.c_str(), nullptr, MS_BIND, nullptr) != 0) return {errno, "mount", path_};
    mounted_ = true;
    return {};
  }

  void Keep() { taken_ = mounted_ = false; }

 private:
  const std::string& path_;
  bool taken_ = false;
  bool mounted_ = false;
};

Failure IdentifyPath(const std::string& path, Identity* identity) {
  UniqueFd netns;
  if (Failure failure = OpenAnyNetns(path, &netns)) return failure;
  return IdentifyNetns(netns.get(), path, identity);
}

class IdentityJob : public Job {
 public:
  IdentityJob(Napi::Env env, std::string path) : Job(env), path_(std::move(path)) {}

  Napi::Value Resolve(Napi::Env env) override { return ToValue(env, identity_); }

 protected:
  const std::string path_;
  Identity identity_;
};

constexpr char kHere[] = "/proc/thread-self/ns/net";

// Makes a namespace, sets it up, runs fn in it with a descriptor of it, and comes back.
template <typename Fn>
Failure InNewNetns(Worker& worker, const Sysctls& sysctls, const std::string& object, Fn fn) {
  if (worker.stays()) return {EPERM, "unshare", object};
  if (unshare(CLONE_NEWNET) != 0) return {errno, "unshare", object};
  auto set_up = [&]() -> Failure {
    // The descriptor is the namespace whatever happens to any path meanwhile.
    UniqueFd netns(open(kHere, O_RDONLY | O_CLOEXEC));
    if (!netns) return {errno, "open", kHere};
    if (Failure failure = WriteSysctls(sysctls, Owner::kOurs)) return failure;
    if (Failure failure = RaiseLink("lo")) return failure;
    return fn(std::move(netns));
  };
  Failure failure = set_up();
  worker.ComeHome();
  return failure;
}

class CreateJob : public IdentityJob {
 public:
  CreateJob(Napi::Env env, std::string path, Sysctls sysctls)
      : IdentityJob(env, std::move(path)), sysctls_(std::move(sysctls)) {}

  Failure Execute(Worker& worker) override {
    Place place(path_);
    if (Failure failure = place.Take()) return failure;
    Failure failure = InNewNetns(worker, sysctls_, path_, [&](UniqueFd netns) -> Failure {
      if (Failure failure = IdentifyNetns(netns.get(), path_, &identity_)) return failure;
      return place.Mount(kHere);
    });
    if (!failure) place.Keep();
    return failure;
  }

 private:
  const Sysctls sysctls_;
};

class PrepareJob : public Job {
 public:
  PrepareJob(Napi::Env env, Sysctls sysctls) : Job(env), sysctls_(std::move(sysctls)) {}

  Failure Execute(Worker& worker) override {
    return InNewNetns(worker, sysctls_, "a prepared namespace", [this](UniqueFd netns) -> Failure {
      netns_ = std::move(netns);
      return {};
    });
  }

  Napi::Value Resolve(Napi::Env env) override { return Napi::Number::New(env, netns_.Release()); }

 private:
  const Sysctls sysctls_;
  UniqueFd netns_;
};

Failure Pin(int netns, const std::string& path, Identity* identity) {
  if (Failure failure = CheckNetns(netns, path)) return failure;
  if (Failure failure = IdentifyNetns(netns, path, identity)) return failure;
  Place place(path);
  if (Failure failure = place.Take()) return failure;
  Failure failure = place.Mount("/proc/thread-self/fd/" + std::to_string(netns));
  if (!failure) place.Keep();
  return failure;
}

class PinJob : public IdentityJob {
 public:
  PinJob(Napi::Env env, std::string path, UniqueFd netns)
      : IdentityJob(env, std::move(path)), netns_(std::move(netns)) {}

  Failure Execute(Worker&) override { return Pin(netns_.get(), path_, &identity_); }

 private:
  UniqueFd netns_;
};

class IdentifyJob : public IdentityJob {
 public:
  using IdentityJob::IdentityJob;
  Failure Execute(Worker&) override { return IdentifyPath(path_, &identity_); }
};

class RemoveJob : public Job {
 public:
  RemoveJob(Napi::Env env, std::string path) : Job(env), path_(std::move(path)) {}

  Failure Execute(Worker&) override {
    for (;;) {
      struct statfs filesystem;
      if (statfs(path_.c_str(), &filesystem) != 0) return errno == ENOENT ? Failure{} : Failure{errno, "statfs", path_};
      if (filesystem.f_type != NSFS_MAGIC) break;
      // Unmounts once per mount: several may be stacked on the path.
      if (umount2(path_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) return {errno, "umount", path_};
    }
    // The file under the mounts must be a placeholder, so that a wrong path does not delete anybody's file.
    struct stat status;
    if (lstat(path_.c_str(), &status) != 0) return errno == ENOENT ? Failure{} : Failure{errno, "lstat", path_};
    if (!S_ISREG(status.st_mode) || status.st_size != 0) return {EINVAL, "unlink", path_};
    if (unlink(path_.c_str()) != 0 && errno != ENOENT) return {errno, "unlink", path_};
    return {};
  }

 private:
  const std::string path_;
};

template <typename PathJob>
Napi::Value SubmitForPath(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::string path = input.Text(info[0], "path");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<PathJob>(info.Env(), std::move(path)));
}

}  // namespace

Napi::Value NetnsCreate(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::string path = input.Text(info[0], "path");
  Sysctls sysctls = input.Pairs(info[1], "sysctls");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<CreateJob>(info.Env(), std::move(path), std::move(sysctls)));
}

Napi::Value NetnsPrepare(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  Sysctls sysctls = input.Pairs(info[0], "sysctls");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<PrepareJob>(info.Env(), std::move(sysctls)));
}

Napi::Value NetnsPin(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  int fd = static_cast<int>(input.Integer(info[0], "fd", 0, INT32_MAX));
  std::string path = input.Text(info[1], "path");
  if (!input.ok()) return input.Rejection();
  // Duplicates the descriptor, so that the caller may close its own at once.
  UniqueFd netns(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!netns) {
    input.Fail({errno, "fcntl", path});
    return input.Rejection();
  }
  return worker.Submit(std::make_unique<PinJob>(info.Env(), std::move(path), std::move(netns)));
}

Napi::Value NetnsPinNow(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  int fd = static_cast<int>(input.Integer(info[0], "fd", 0, INT32_MAX));
  std::string path = input.Text(info[1], "path");
  if (!input.ok()) return input.Throw();
  Identity identity;
  if (Failure failure = Pin(fd, path, &identity)) {
    ToError(info.Env(), failure).ThrowAsJavaScriptException();
    return info.Env().Undefined();
  }
  return ToValue(info.Env(), identity);
}

Napi::Value NetnsRemove(const Napi::CallbackInfo& info, Worker& worker) {
  return SubmitForPath<RemoveJob>(info, worker);
}

Napi::Value NetnsIdentify(const Napi::CallbackInfo& info, Worker& worker) {
  return SubmitForPath<IdentifyJob>(info, worker);
}

}  // namespace cleat
