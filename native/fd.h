// fd.h: a file descriptor that closes itself.
//
// Guarantees: closed exactly once, on every way out. Limits: close(2)'s result is dropped (Linux frees the descriptor
// even when it fails); nothing here is ever written through a descriptor whose close could report a write error.
#pragma once

#include <unistd.h>

#include <utility>

namespace cleat {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    if (fd_ >= 0) close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace cleat
