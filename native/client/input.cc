// input.cc: see input.h.
#include "input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cleat_client {

std::string ReadAll(int fd, const std::string& what, size_t mebibytes, const Deadline& deadline, std::string* out) {
  char buffer[16384];
  while (true) {
    if (!deadline.Await(fd, POLLIN)) return what + " did not arrive in time";
    ssize_t n = read(fd, buffer, sizeof buffer);
    if (n == 0) return "";
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return "read " + what + ": " + std::strerror(errno);
    out->append(buffer, static_cast<size_t>(n));
    if (out->size() > mebibytes << 20) return what + " is larger than " + std::to_string(mebibytes) + " MiB";
  }
}

std::string ReadInput(const std::string& what, size_t mebibytes, const Deadline& deadline, std::string* out) {
  return ReadAll(STDIN_FILENO, what + " on stdin", mebibytes, deadline, out);
}

}  // namespace cleat_client
