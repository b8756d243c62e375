// user.h: the ordinary user that we run as, and what the machine grants this user.
//
// Guarantees: nothing is changed, and nothing is made but the directory of cleat in the user's runtime directory. What
// is missing is said with what to do about it. Limits: names and ranges are read from /etc/passwd, /etc/subuid and
// /etc/subgid (subuid(5)). A user that only a name service knows is found in the ranges by its number.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace cleat_rootless {

// Why it cannot be done, and what to do about it. An empty message: nothing is wrong.
struct Trouble {
  std::string message;
  std::string hint;
};

// Subordinate ids of the user.
struct Range {
  uint64_t start;
  uint64_t count;
};

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;  // the number, if it has no name
  std::vector<Range> uids;
  std::vector<Range> gids;
  // $XDG_RUNTIME_DIR, or the usual one
  std::string runtime;
  // What is ours in it: cleat/
  std::string directory;
};

Trouble FindUser(User* user);

// Returns the ranges of this user in the text of /etc/subuid or /etc/subgid.
std::vector<Range> RangesIn(const std::string& text, const std::string& name, uid_t uid);

// Returns the text of a file; false if it cannot be read.
bool ReadFile(const std::string& path, std::string* text);

}  // namespace cleat_rootless
