// status.cc: see status.h.
#include "status.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>

#include "../fd.h"
#include "../json/json.h"

namespace cleat_keeper {

namespace {

constexpr char kName[] = "status";
constexpr char kNewName[] = "status.new";

std::string Number(int64_t value, int64_t none) {
  return value == none ? "null" : std::to_string(value);
}

std::string Json(const Process& process) {
  if (process.pid == 0) return "null";
  return "{\"pid\":" + std::to_string(process.pid) + ",\"startTime\":" + std::to_string(process.start) + "}";
}

std::string Json(const Status& status) {
  return std::string("{\"state\":\"") + status.state + "\",\"keeper\":" + Json(status.keeper) +
         ",\"child\":" + Json(status.child) + ",\"log\":" + Number(status.log, -1) +
         ",\"readyMs\":" + Number(status.ready_ms, -1) + ",\"code\":" + Number(status.code, -1) +
         ",\"signal\":" + Number(status.signal, 0) + ",\"cause\":\"" + status.cause +
         "\",\"error\":" + cleat::QuoteJson(status.error) + ",\"output\":" + cleat::QuoteJson(status.output) + "}\n";
}

}  // namespace

bool Write(int directory, const Status& status) {
  // The program can write here, too: a file that it left under this name is not opened (a fifo would hold us up for
  // ever).
  unlinkat(directory, kNewName, 0);
  cleat::UniqueFd file(openat(directory, kNewName, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return false;
  std::string text = Json(status);
  ssize_t written = write(file.get(), text.data(), text.size());
  bool good = written == static_cast<ssize_t>(text.size());
  if (!good && written >= 0) errno = ENOSPC;
  if (good && renameat(directory, kNewName, directory, kName) == 0) return true;
  int error = errno;
  unlinkat(directory, kNewName, 0);
  errno = error;
  return false;
}

}  // namespace cleat_keeper
