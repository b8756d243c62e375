// bundle.cc: see bundle.h.
#include "bundle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../fd.h"
#include "container.h"

namespace cleat_hook {

namespace {

constexpr size_t kMaxConfig = size_t{8} << 20;

// Returns why the file cannot be read; empty if `out` has it. `error` is errno of an open that failed, otherwise 0.
std::string ReadFile(const std::string& path, std::string* out, int* error) {
  cleat::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  *error = file ? 0 : errno;
  if (!file) return std::strerror(errno);
  struct stat info {};
  if (fstat(file.get(), &info) != 0) return std::strerror(errno);
  if (!S_ISREG(info.st_mode)) return "is no regular file";
  char buffer[16384];
  while (true) {
    ssize_t n = read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::strerror(errno);
    if (n == 0) return "";
    out->append(buffer, static_cast<size_t>(n));
    if (out->size() > kMaxConfig) return "is larger than 8 MiB";
  }
}

}  // namespace

std::string JoinsNamespace(const std::string& bundle, bool* joins) {
  *joins = false;
  if (bundle.empty()) return "";
  const std::string path = bundle + "/config.json";
  std::string text;
  int error = 0;
  std::string problem = ReadFile(path, &text, &error);
  if (error == ENOENT) return "";
  if (problem.empty()) problem = ReadConfig(text.data(), text.size(), joins);
  return problem.empty() ? "" : path + ": " + problem;
}

}  // namespace cleat_hook
