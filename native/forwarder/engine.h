// engine.h: a loop: who is ready, who wants another turn, and the pipes that data passes through.
//
// Guarantees: nobody is called for a descriptor that was closed earlier in the same turn and freed: what is closed is
// buried, and freed when the turn is over. A pipe is held only while there is data in it: an idle connection costs its
// two descriptors. Of kSpare pipes none is given back, so that data flows on when the machine has no descriptor left.
// Limits: an engine belongs to one thread.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../fd.h"

namespace cleat_forwarder {

using cleat::UniqueFd;

// What a descriptor that the loop watches belongs to.
class Source {
 public:
  virtual ~Source() = default;
  virtual void Ready(uint32_t events) = 0;
};

// Whoever wants to be called again: at once when `Again`, in kRetryMs when `Later`.
class Worker {
 public:
  virtual ~Worker() = default;
  virtual void Work() = 0;

  bool buried() const { return buried_; }

 private:
  friend class Engine;
  bool queued_ = false;
  bool buried_ = false;
};

struct Pipe {
  UniqueFd out;
  UniqueFd in;
  bool large = false;
};

// The kernel's largest for everyone (fs.pipe-max-size, pipe(7)); one that may not be enlarged works as it is.
constexpr int kPipeSize = 1 << 20;
// So many of a loop are enlarged. Data that waits in a pipe counts against no socket (tcp_mem): clients that do not
// read would pin a megabyte each. The others have the usual 64 KB.
constexpr size_t kLargePipes = 64;
constexpr int kRetryMs = 20;
constexpr int kTickMs = 1000;

class Engine {
 public:
  // 0 or errno.
  int Open();

  // 0 or errno. A descriptor leaves the loop when it is closed.
  int Watch(int fd, uint32_t events, Source* source);
  // Of one that is watched: that does not fail (epoll_ctl(2)).
  void Rewatch(int fd, uint32_t events, Source* source);

  void Again(Worker* worker);
  void Later(Worker* worker);
  // Freed when the turn is over, and not called any more.
  void Bury(std::unique_ptr<Worker> worker);

  // False when there is none to be had: try again Later.
  bool TakePipe(Pipe* pipe);
  // It must be empty; else Spoil it.
  void GivePipe(Pipe pipe);
  void SpoilPipe(Pipe pipe);

  // Wait for at most `patience_ms` (-1: as long as it takes), then let everyone work who has to.
  void Turn(int patience_ms);
  // Milliseconds, of the clock that does not jump; as of the beginning of the turn.
  int64_t now() const { return now_; }

  // Connections and UDP clients that there are now.
  size_t open = 0;

 private:
  void Reckon();

  UniqueFd epoll_;
  int64_t now_ = 0;
  int64_t retry_at_ = 0;
  std::vector<Worker*> again_;
  std::vector<Worker*> later_;
  std::vector<std::unique_ptr<Worker>> graveyard_;
  bool MakePipe(Pipe* pipe) const;

  std::vector<Pipe> pipes_;
  size_t pipes_taken_ = 0;
};

}  // namespace cleat_forwarder
