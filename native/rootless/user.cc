// user.cc: see user.h.
#include "user.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "../fd.h"

namespace cleat_rootless {

namespace {

// The programs that we start run as users of their own with numbers up to this one (effects/processes/users.ts).
constexpr uint64_t kHighest = 65524;
// The daemon's, which others reach by its path outside.
constexpr char kSocket[] = "/cleat.sock";
constexpr size_t kLongestSocket = sizeof sockaddr_un{}.sun_path - 1;

std::vector<std::string> Split(const std::string& text, char by) {
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t to; (to = text.find(by, from)) != std::string::npos; from = to + 1)
    parts.push_back(text.substr(from, to - from));
  parts.push_back(text.substr(from));
  return parts;
}

bool ToNumber(const std::string& text, uint64_t* out) {
  if (text.empty() || text.size() > 10 || text.find_first_not_of("0123456789") != std::string::npos) return false;
  *out = std::strtoull(text.c_str(), nullptr, 10);
  return true;
}

std::string NameOf(uid_t uid) {
  std::string text;
  if (!ReadFile("/etc/passwd", &text)) return std::to_string(uid);
  for (const std::string& line : Split(text, '\n')) {
    const std::vector<std::string> fields = Split(line, ':');
    if (fields.size() > 2 && fields[2] == std::to_string(uid)) return fields[0];
  }
  return std::to_string(uid);
}

// Returns the ranges of a file, or why there are too few.
Trouble Subordinates(const User& user, const char* file, const char* option, std::vector<Range>* ranges) {
  std::string text;
  if (!ReadFile(file, &text)) text.clear();
  *ranges = RangesIn(text, user.name, user.uid);
  uint64_t count = 0;
  for (const Range& range : *ranges) count += range.count;
  if (count >= kHighest) return {};
  const std::string has = count == 0 ? "no subordinate ids" : "only " + std::to_string(count) + " subordinate ids";
  return {user.name + " has " + has + " in " + file + "; " + std::to_string(kHighest) + " are needed",
          std::string("As root, give the user a range that is nobody else's: usermod ") + option + " 100000-165535 " +
              user.name};
}

Trouble FindDirectory(User* user) {
  const char* named = std::getenv("XDG_RUNTIME_DIR");
  const bool given = named != nullptr && *named != '\0';
  const std::string runtime = given ? named : "/run/user/" + std::to_string(user->uid);
  const std::string hint =
      "Log in by a session of systemd (or `loginctl enable-linger`), or set XDG_RUNTIME_DIR to a directory of yours "
      "with mode 0700, on a tmpfs.";
  struct stat info {};
  if (runtime[0] != '/') return {"XDG_RUNTIME_DIR is not an absolute path: " + runtime, hint};
  if (stat(runtime.c_str(), &info) != 0) {
    const std::string why = runtime + ": " + strerror(errno);
    return {given ? "XDG_RUNTIME_DIR cannot be used: " + why : "there is no XDG_RUNTIME_DIR, and no " + why, hint};
  }
  if (!S_ISDIR(info.st_mode)) return {"XDG_RUNTIME_DIR is not a directory: " + runtime, hint};
  if (info.st_uid != user->uid || (info.st_mode & 0022) != 0) {
    return {"XDG_RUNTIME_DIR is not safe: " + runtime + " belongs to uid " + std::to_string(info.st_uid) +
                ", or others may write to it",
            hint};
  }
  user->runtime = runtime;
  user->directory = runtime + "/cleat";
  if (const size_t size = (user->directory + kSocket).size(); size > kLongestSocket) {
    return {"XDG_RUNTIME_DIR is too long: a socket in it would have a path of " + std::to_string(size) +
                " bytes, and " + std::to_string(kLongestSocket) + " are possible",
            hint};
  }
  // 0751: the mode that the daemon gives it. The directory above is closed to others.
  if (mkdir(user->directory.c_str(), 0751) != 0 && errno != EEXIST) {
    return {user->directory + ": " + strerror(errno), hint};
  }
  if (lstat(user->directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != user->uid) {
    return {user->directory + " is not a directory of " + user->name, "Remove it."};
  }
  return {};
}

}  // namespace

bool ReadFile(const std::string& path, std::string* text) {
  cleat::UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  text->clear();
  char bytes[4096];
  for (;;) {
    ssize_t size = read(file.get(), bytes, sizeof bytes);
    if (size == 0) return true;
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return false;
    text->append(bytes, static_cast<size_t>(size));
  }
}

std::vector<Range> RangesIn(const std::string& text, const std::string& name, uid_t uid) {
  std::vector<Range> ranges;
  for (const std::string& line : Split(text, '\n')) {
    const std::vector<std::string> fields = Split(line, ':');
    Range range{};
    if (fields.size() != 3 || (fields[0] != name && fields[0] != std::to_string(uid))) continue;
    if (ToNumber(fields[1], &range.start) && ToNumber(fields[2], &range.count) && range.count > 0)
      ranges.push_back(range);
  }
  return ranges;
}

Trouble FindUser(User* user) {
  user->uid = geteuid();
  user->gid = getegid();
  if (user->uid == 0) return {"root needs no namespace of an ordinary user", "Run the program as it is."};
  user->name = NameOf(user->uid);
  if (Trouble trouble = FindDirectory(user); !trouble.message.empty()) return trouble;
  if (Trouble trouble = Subordinates(*user, "/etc/subuid", "--add-subuids", &user->uids); !trouble.message.empty()) {
    return trouble;
  }
  return Subordinates(*user, "/etc/subgid", "--add-subgids", &user->gids);
}

}  // namespace cleat_rootless
