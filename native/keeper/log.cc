// log.cc: see log.h.
#include "log.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace cleat_keeper {

namespace {

constexpr off_t kMost = 256 * 1024;
// This much is kept when the rest is released. Holes begin and end on pages.
constexpr off_t kKept = 16 * 1024;
constexpr off_t kPage = 4096;
constexpr off_t kTail = 4096;

off_t SizeOf(int fd) {
  struct stat info {};
  return fstat(fd, &info) == 0 ? info.st_size : 0;
}

}  // namespace

bool Log::Open(int directory) {
  file_.Reset(openat(directory, ".", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600));
  if (!file_) return false;
  changes_.Reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  std::string path = "/proc/self/fd/" + std::to_string(file_.get());
  return changes_ && inotify_add_watch(changes_.get(), path.c_str(), IN_MODIFY) >= 0;
}

void Log::Bound() {
  char events[4096];
  while (read(changes_.get(), events, sizeof events) > 0) {
  }
  off_t size = SizeOf(file_.get());
  if (size - given_back_ <= kMost) return;
  off_t until = (size - kKept) / kPage * kPage;
  // The size stays: what the program appends meanwhile is not touched.
  if (fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, until) == 0) given_back_ = until;
}

std::string Log::Tail() const {
  std::string text(kTail, '\0');
  off_t size = SizeOf(file_.get());
  ssize_t got = pread(file_.get(), text.data(), text.size(), std::max<off_t>(0, size - kTail));
  text.resize(got > 0 ? static_cast<size_t>(got) : 0);
  for (char& c : text) {
    if (c != '\n' && c != '\t' && (c < ' ' || c > '~')) c = '?';
  }
  return text;
}

}  // namespace cleat_keeper
