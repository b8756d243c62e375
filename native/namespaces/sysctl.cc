// sysctl.cc: see sysctl.h.
#include "sysctl.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "../fd.h"
#include "../node/input.h"
#include "nsfile.h"

namespace cleat {

namespace {

constexpr size_t kMaxValue = 4096;

// A procfs that is mounted nowhere (fsmount(2)), of one thread, made anew now and then. In one procfs, each network
// namespace has directory entries of its own under the same names, and a lookup passes all of them: with 1,000
// namespaces the six switches of the next one took 1.8 ms, through a young procfs they take 0.1 ms.
class Procfs {
 public:
  // The descriptor for one more lookup; < 0 if there can be none.
  int Use() {
    if (hopeless_) return -1;
    if (!root_ || ++uses_ > kLookups) {
      root_.Reset(Mount());
      hopeless_ = !root_;
      uses_ = 1;
    }
    return root_.get();
  }

 private:
  // Making one costs as much as some ten lookups, and letting one go costs more the older it is.
  static constexpr int kLookups = 128;

  static int Mount() {
    UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC)));
    if (!context) return -1;
    if (syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return -1;
    constexpr unsigned kAttributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    return static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, kAttributes));
  }

  UniqueFd root_;
  int uses_ = 0;
  bool hopeless_ = false;
};

thread_local Procfs procfs;

Failure OpenSysctl(const std::string& key, int flags, Owner owner, UniqueFd* file) {
  bool leaves = key.empty() || key[0] == '/' || ("/" + key + "/").find("/../") != std::string::npos;
  if (leaves) return {EINVAL, "open", key};
  const int own = owner == Owner::kOurs ? procfs.Use() : -1;
  file->Reset(own >= 0 ? openat(own, ("sys/" + key).c_str(), flags | O_CLOEXEC)
                       : open(("/proc/sys/" + key).c_str(), flags | O_CLOEXEC));
  return *file ? Failure{} : Failure{errno, "open", key};
}

Failure ReadSysctl(const std::string& key, std::optional<std::string>* value) {
  UniqueFd file;
  Failure failure = OpenSysctl(key, O_RDONLY, Owner::kHost, &file);
  if (failure.error == ENOENT) return {};
  if (failure) return failure;
  char text[kMaxValue];
  ssize_t size = read(file.get(), text, sizeof text);
  if (size < 0) return {errno, "read", key};
  if (size > 0 && text[size - 1] == '\n') size--;
  *value = std::string(text, static_cast<size_t>(size));
  return {};
}

// Runs fn in the namespace at path, or where the worker is.
template <typename Fn>
Failure InNetns(Worker& worker, const std::optional<std::string>& path, Fn fn) {
  if (!path) return fn();
  UniqueFd netns;
  if (Failure failure = OpenNetns(*path, &netns)) return failure;
  return worker.Inside(netns.get(), *path, fn);
}

class ReadJob : public Job {
 public:
  ReadJob(Napi::Env env, std::vector<std::string> keys, std::optional<std::string> netns)
      : Job(env), keys_(std::move(keys)), netns_(std::move(netns)), values_(keys_.size()) {}

  Failure Execute(Worker& worker) override {
    return InNetns(worker, netns_, [this] {
      for (size_t i = 0; i < keys_.size(); i++) {
        if (Failure failure = ReadSysctl(keys_[i], &values_[i])) return failure;
      }
      return Failure{};
    });
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array array = Napi::Array::New(env, values_.size());
    for (size_t i = 0; i < values_.size(); i++) {
      array.Set(static_cast<uint32_t>(i), values_[i] ? Napi::Value(Napi::String::New(env, *values_[i])) : env.Null());
    }
    return array;
  }

 private:
  std::vector<std::string> keys_;
  std::optional<std::string> netns_;
  std::vector<std::optional<std::string>> values_;
};

class WriteJob : public Job {
 public:
  WriteJob(Napi::Env env, Sysctls sysctls, std::optional<std::string> netns, Owner owner)
      : Job(env), sysctls_(std::move(sysctls)), netns_(std::move(netns)), owner_(owner) {}

  Failure Execute(Worker& worker) override {
    return InNetns(worker, netns_, [this] { return WriteSysctls(sysctls_, owner_); });
  }

 private:
  Sysctls sysctls_;
  std::optional<std::string> netns_;
  const Owner owner_;
};

}  // namespace

Failure WriteSysctls(const Sysctls& sysctls, Owner owner) {
  for (const auto& [key, value] : sysctls) {
    UniqueFd file;
    if (Failure failure = OpenSysctl(key, O_WRONLY, owner, &file)) return failure;
    // One write: the kernel parses each write by itself (proc_dointvec and friends).
    if (write(file.get(), value.data(), value.size()) < 0) return {errno, "write", key};
  }
  return {};
}

Napi::Value SysctlRead(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::vector<std::string> keys = input.Texts(info[0], "keys");
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ReadJob>(info.Env(), std::move(keys), std::move(netns)));
}

Napi::Value SysctlWrite(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  Sysctls sysctls = input.Pairs(info[0], "values");
  std::optional<std::string> netns = input.OptionalText(info[1], "netns");
  const bool ours = netns || input.OptionalFlag(info[2], "ours").value_or(false);
  if (!input.ok()) return input.Rejection();
  return worker.Submit(
      std::make_unique<WriteJob>(info.Env(), std::move(sysctls), std::move(netns), ours ? Owner::kOurs : Owner::kHost));
}

}  // namespace cleat
