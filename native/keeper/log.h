// log.h: the program's output: a file that has no name, for as long as the keeper lives.
//
// Guarantees: writing to it never blocks and never fails because nobody reads. The space that it takes is bounded:
// beyond kMost the beginning is released. Limits: the file system must know O_TMPFILE (tmpfs, ext4, xfs, btrfs), and
// FALLOC_FL_PUNCH_HOLE for the bound.
#pragma once

#include <string>

#include "../fd.h"

namespace cleat_keeper {

class Log {
 public:
  // Returns false with errno. Owner and mode are ours alone.
  bool Open(int directory);
  // Appends; this descriptor is the program's stdout and stderr.
  int fd() const { return file_.get(); }
  // Readable (poll(2)) after the program wrote.
  int changes() const { return changes_.get(); }
  // Releases the beginning of a file that is too long. To be called when `changes` is readable.
  void Bound();
  // Returns the last kTail bytes at most, as JSON may hold them: a byte that is not printable ASCII is "?".
  std::string Tail() const;

 private:
  cleat::UniqueFd file_;
  cleat::UniqueFd changes_;
  off_t given_back_ = 0;
};

}  // namespace cleat_keeper
