// mounts.cc: see mounts.h.
#include "mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../fd.h"
#include "label.h"

namespace cleat_rootless {

namespace {

constexpr char kHost[] = "/run/.host";
constexpr char kOwn[] = "/proc/self/ns/net";

Trouble Failed(const std::string& what) {
  return {what + ": " + strerror(errno), ""};
}

// The names of ours take precedence.
bool IsOurs(const char* name) {
  return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".host") == 0 ||
         strcmp(name, "netns") == 0 || strncmp(name, "cleat-", 6) == 0;
}

bool Bind(const std::string& from, const std::string& to) {
  return mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0;
}

// A copy of what is mounted at a path, with all below it, that is mounted nowhere yet.
cleat::UniqueFd Copy(const std::string& path) {
  return cleat::UniqueFd(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
}

bool Place(const cleat::UniqueFd& copy, const std::string& path) {
  return move_mount(copy.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

Trouble ShowHost() {
  DIR* entries = opendir(kHost);
  if (entries == nullptr) return Failed(kHost);
  Trouble trouble;
  while (const dirent* entry = readdir(entries)) {
    if (IsOurs(entry->d_name)) continue;
    const std::string from = std::string(kHost) + "/" + entry->d_name;
    const std::string to = std::string("/run/") + entry->d_name;
    struct stat info {};
    if (lstat(from.c_str(), &info) != 0) continue;  // it has gone meanwhile
    if (S_ISDIR(info.st_mode)) {
      if (mkdir(to.c_str(), 0755) != 0 || !Bind(from, to)) {
        trouble = Failed("mounting " + to);
        break;
      }
    } else if (symlink((std::string(".host/") + entry->d_name).c_str(), to.c_str()) != 0) {
      trouble = Failed(to);
      break;
    }
  }
  closedir(entries);
  return trouble;
}

}  // namespace

std::string InsideOf(const User& user) {
  struct stat info {};
  const ino_t inode = stat(user.directory.c_str(), &info) == 0 ? info.st_ino : 0;
  return "/run/cleat-" + std::to_string(user.uid) + "-" + std::to_string(inode);
}

Trouble MakeMounts(const std::string& directory, const std::string& inside) {
  if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return Failed("making the mounts our own");
  // Copied before, because what is mounted on /run covers both.
  cleat::UniqueFd run = Copy("/run");
  if (!run) return Failed("copying the mount of /run");
  cleat::UniqueFd own = Copy(directory);
  if (!own) return Failed("copying the mount of " + directory);
  if (mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") != 0) return Failed("mounting /run");
  GiveLabel("/run");
  if (mkdir(kHost, 0755) != 0 || !Place(run, kHost)) return Failed(std::string("mounting ") + kHost);
  if (Trouble trouble = ShowHost(); !trouble.message.empty()) return trouble;
  if (mkdir(inside.c_str(), 0755) != 0 || !Place(own, inside)) return Failed("mounting " + inside);
  if (mkdir("/run/netns", 0711) != 0) return Failed("/run/netns");
  cleat::UniqueFd pin(open(kOutside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400));
  if (!pin || mount(kOwn, kOutside, nullptr, MS_BIND, nullptr) != 0) return Failed(std::string("mounting ") + kOutside);
  return {};
}

}  // namespace cleat_rootless
