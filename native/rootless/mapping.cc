// mapping.cc: see mapping.h.
#include "mapping.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "../pipe.h"

namespace cleat_rootless {

namespace {

constexpr char kHint[] =
    "As root: apt-get install uidmap. It has to keep its rights: setuid root, or file capabilities.";

// Returns the first of the usual places that has the program; empty if none has.
std::string Find(const std::string& name) {
  for (const char* directory : {"/usr/bin/", "/usr/local/bin/", "/usr/sbin/", "/bin/"}) {
    const std::string path = directory + name;
    if (access(path.c_str(), X_OK) == 0) return path;
  }
  return "";
}

// Runs newuidmap or newgidmap. `own`: the id of the user, which becomes 0.
Trouble RunMapper(const std::string& name, pid_t pid, uint64_t own, const std::vector<Range>& ranges) {
  const std::string file = Find(name);
  if (file.empty()) return {name + " is not installed", kHint};
  std::vector<std::string> words = {file, std::to_string(pid), "0", std::to_string(own), "1"};
  uint64_t next = 1;
  for (const Range& range : ranges) {
    for (uint64_t number : {next, range.start, range.count}) words.push_back(std::to_string(number));
    next += range.count;
  }
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  cleat::Pipe output;
  if (!output.Open()) return {std::string("pipe2: ") + strerror(errno), ""};
  pid_t child = fork();
  if (child < 0) return {std::string("fork: ") + strerror(errno), ""};
  if (child == 0) {
    dup2(output.writing.get(), STDOUT_FILENO);
    dup2(output.writing.get(), STDERR_FILENO);
    char* none[] = {nullptr};
    execve(file.c_str(), arguments.data(), none);
    _exit(127);
  }
  output.writing.Reset();
  std::string said;
  char bytes[512];
  for (ssize_t size; (size = read(output.reading.get(), bytes, sizeof bytes)) > 0;)
    said.append(bytes, static_cast<size_t>(size));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  std::replace(said.begin(), said.end(), '\n', ' ');
  return {file + " refuses to map the ids of " + std::to_string(own) + ": " + said, kHint};
}

}  // namespace

Trouble MapIds(const User& user, pid_t pid) {
  if (Trouble trouble = RunMapper("newuidmap", pid, user.uid, user.uids); !trouble.message.empty()) return trouble;
  return RunMapper("newgidmap", pid, user.gid, user.gids);
}

}  // namespace cleat_rootless
