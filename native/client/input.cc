// input.cc: see input.h.
#include "input.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace cleat_client {

std::string ReadInput(const std::string& what, size_t mebibytes, const Deadline& deadline, std::string* out) {
  char buffer[16384];
  while (true) {
    if (!deadline.Await(STDIN_FILENO, POLLIN)) return what + " did not arrive on stdin in time";
    ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
    if (n == 0) return "";
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return std::string("read stdin: ") + std::strerror(errno);
    out->append(buffer, static_cast<size_t>(n));
    if (out->size() > mebibytes << 20) return what + " on stdin is larger than " + std::to_string(mebibytes) + " MiB";
  }
}

}  // namespace cleat_client
