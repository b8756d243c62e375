// process.cc: see process.h.
#include "process.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace cleat_keeper {

int64_t StartTime(pid_t pid) {
  cleat::UniqueFd file(open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char text[1024];
  ssize_t size = file ? read(file.get(), text, sizeof text - 1) : -1;
  if (size <= 0) return -1;
  text[size] = '\0';
  // Field 2, the command in parentheses, may hold anything (proc(5)); field 3 follows the last parenthesis.
  const char* field = strrchr(text, ')');
  for (int i = 2; field != nullptr && i < 22; i++) field = strchr(field + 1, ' ');
  return field == nullptr ? -1 : strtoll(field + 1, nullptr, 10);
}

cleat::UniqueFd Hold(const Process& process) {
  cleat::UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0)));
  // Read after opening: a later owner of the pid would show its own start time.
  if (fd && StartTime(process.pid) != process.start) fd.Reset();
  return fd;
}

}  // namespace cleat_keeper
