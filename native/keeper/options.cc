// options.cc: see options.h.
#include "options.h"

#include <charconv>
#include <cstring>
#include <string_view>

namespace cleat_keeper {

namespace {

// The program's own descriptors are 0 to 2; more than these two it is not given.
constexpr int kFirstFd = 3;
constexpr int kLastFd = 9;

template <typename Number>
bool Parse(const char* text, Number least, Number most, Number* out) {
  const char* end = text + strlen(text);
  auto [rest, error] = std::from_chars(text, end, *out);
  return error == std::errc() && rest == end && *out >= least && *out <= most;
}

}  // namespace

std::string ParseOptions(int argc, char* const* argv, Options* out) {
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
    std::string_view name = argv[i];
    if (name == "--own-mounts") {
      out->own_mounts = true;
      continue;
    }
    if (++i == argc) return std::string(name) + " needs a value";
    const char* value = argv[i];
    bool good = false;
    if (name == "--directory") good = *(out->directory = value).c_str() == '/';
    if (name == "--bound-pid") good = Parse<pid_t>(value, 1, INT32_MAX, &out->bound_pid);
    if (name == "--bound-start") good = Parse<int64_t>(value, 0, INT64_MAX, &out->bound_start);
    if (name == "--exit-fd") good = Parse(value, kFirstFd, kLastFd, &out->exit_fd);
    if (name == "--ready-fd") good = Parse(value, kFirstFd, kLastFd, &out->ready_fd);
    if (name == "--ready-ms") good = Parse<int64_t>(value, 1, INT32_MAX, &out->ready_ms);
    if (!good) return "not understood: " + std::string(name) + " " + value;
  }
  if (out->directory.empty()) return "--directory is missing";
  if ((out->bound_pid != 0) != (out->bound_start >= 0)) return "--bound-pid and --bound-start go together";
  if ((out->ready_fd >= 0) != (out->ready_ms != 0)) return "--ready-fd and --ready-ms go together";
  if (out->ready_fd >= 0 && out->ready_fd == out->exit_fd) return "--ready-fd and --exit-fd are the same";
  if (i + 1 >= argc || argv[i + 1][0] != '/') return "-- and the path of a program are missing";
  out->program = argv + i + 1;
  return "";
}

}  // namespace cleat_keeper
