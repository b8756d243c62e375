// options.cc: see options.h.
#include "options.h"

#include <unistd.h>

#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace cleat_keeper {

namespace {

// The program's own descriptors are 0 to 2; it gets no more than three besides them.
constexpr int kFirstFd = 3;
constexpr int kLastFd = 9;

template <typename Number>
bool Parse(const char* text, Number least, Number most, Number* out) {
  const char* end = text + strlen(text);
  auto [rest, error] = std::from_chars(text, end, *out);
  return error == std::errc() && rest == end && *out >= least && *out <= most;
}

// Reads UID:GID.
bool ParseUser(const std::string& text, Options* out) {
  const size_t colon = text.find(':');
  if (colon == std::string::npos) return false;
  return Parse<uid_t>(text.substr(0, colon).c_str(), 1, INT32_MAX, &out->user) &&
         Parse<gid_t>(text.c_str() + colon + 1, 1, INT32_MAX, &out->group);
}

}  // namespace

std::string ParseOptions(int argc, char* const* argv, Options* out) {
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
    std::string_view name = argv[i];
    if (++i == argc) return std::string(name) + " needs a value";
    const char* value = argv[i];
    bool good = false;
    if (name == "--directory") good = *(out->directory = value).c_str() == '/';
    // Root's number cannot be the program's own.
    if (name == "--user") good = ParseUser(value, out);
    if (name == "--netns-fd") good = Parse(value, kFirstFd, kLastFd, &out->netns_fd);
    if (name == "--bound-pid") good = Parse<pid_t>(value, 1, INT32_MAX, &out->bound_pid);
    if (name == "--bound-start") good = Parse<int64_t>(value, 0, INT64_MAX, &out->bound_start);
    if (name == "--bound-fd") good = Parse(value, kFirstFd, kLastFd, &out->bound_fd);
    if (name == "--exit-fd") good = Parse(value, kFirstFd, kLastFd, &out->exit_fd);
    if (name == "--ready-fd") {
      // Standard output is allowed for a program that closes the descriptors above standard error; its messages are on
      // that.
      good = Parse(value, STDOUT_FILENO, kLastFd, &out->ready_fd) && out->ready_fd != STDERR_FILENO;
    }
    if (name == "--ready-ms") good = Parse<int64_t>(value, 1, INT32_MAX, &out->ready_ms);
    if (!good) return "not understood: " + std::string(name) + " " + value;
  }
  if (out->directory.empty()) return "--directory is missing";
  if (out->user == 0) return "--user is missing";
  if ((out->bound_pid != 0) != (out->bound_start >= 0)) return "--bound-pid and --bound-start go together";
  if ((out->ready_fd >= 0) != (out->ready_ms != 0)) return "--ready-fd and --ready-ms go together";
  for (auto [one, other] :
       {std::pair(out->ready_fd, out->exit_fd), {out->ready_fd, out->netns_fd}, {out->exit_fd, out->netns_fd}}) {
    if (one >= 0 && one == other) return "two descriptors have the same number";
  }
  if (i + 1 >= argc || argv[i + 1][0] != '/') return "-- and the path of a program are missing";
  out->program = argv + i + 1;
  return "";
}

}  // namespace cleat_keeper
