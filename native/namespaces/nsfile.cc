// nsfile.cc: see nsfile.h.
#include "nsfile.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace cleat {

Failure CheckNetns(int fd, const std::string& object) {
  struct statfs filesystem;
  if (fstatfs(fd, &filesystem) != 0) return {errno, "fstatfs", object};
  // The ioctl has this meaning only on nsfs (ioctl_ns(2)).
  if (filesystem.f_type != NSFS_MAGIC) return {EINVAL, "fstatfs", object};
  int type = ioctl(fd, NS_GET_NSTYPE);
  if (type < 0) return {errno, "ioctl(NS_GET_NSTYPE)", object};
  if (type != CLONE_NEWNET) return {EINVAL, "ioctl(NS_GET_NSTYPE)", object};
  return {};
}

namespace {

// The key is a path. Every worker thread reads it, the event loop writes it.
std::mutex expected_mutex;
std::unordered_map<std::string, Identity> expected;

bool IsExpected(const std::string& path, const Identity& found) {
  std::lock_guard<std::mutex> lock(expected_mutex);
  auto entry = expected.find(path);
  return entry == expected.end() || (entry->second.dev == found.dev && entry->second.ino == found.ino);
}

}  // namespace

void ExpectNetns(const std::string& path, const Identity* identity) {
  std::lock_guard<std::mutex> lock(expected_mutex);
  if (identity == nullptr) {
    expected.erase(path);
  } else {
    expected[path] = *identity;
  }
}

Failure OpenNetns(const std::string& path, UniqueFd* netns) {
  UniqueFd fd;
  if (Failure failure = OpenAnyNetns(path, &fd)) return failure;
  Identity found;
  if (Failure failure = IdentifyNetns(fd.get(), path, &found)) return failure;
  if (!IsExpected(path, found)) return {ESTALE, "open", path};
  *netns = std::move(fd);
  return {};
}

Failure OpenAnyNetns(const std::string& path, UniqueFd* netns) {
  // O_NONBLOCK: a path that turns out to be a FIFO must not hang the thread.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return {errno, "open", path};
  if (Failure failure = CheckNetns(fd.get(), path)) return failure;
  *netns = std::move(fd);
  return {};
}

Failure IdentifyNetns(int fd, const std::string& object, Identity* identity) {
  struct stat status;
  if (fstat(fd, &status) != 0) return {errno, "fstat", object};
  identity->dev = static_cast<double>(status.st_dev);
  identity->ino = static_cast<double>(status.st_ino);
  return {};
}

}  // namespace cleat
