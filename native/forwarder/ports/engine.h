// engine.h: an epoll loop, its queues of work, and the pipes that data passes through.
//
// Guarantees: no source is called for a descriptor that was closed earlier in the same turn and freed: a closed one is
// buried, and freed when the turn is over. A pipe is held only while there is data in it: an idle connection costs its
// two descriptors. kSpare pipes always stay open, so that data flows on when the machine has no descriptor left.
// Limits: an engine belongs to one thread.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../../fd.h"

namespace cleat_forwarder {

using cleat::UniqueFd;

// The owner of a descriptor that the loop watches.
class Source {
 public:
  virtual ~Source() = default;
  virtual void Ready(uint32_t events) = 0;
};

// An object that the loop calls again: in the next turn after `Again`, in kRetryMs after `Later`.
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

// The largest size that the kernel allows everyone (fs.pipe-max-size, pipe(7)); a pipe that may not be enlarged works
// as it is.
constexpr int kPipeSize = 1 << 20;
// Each loop enlarges so many pipes. Data that waits in a pipe counts against no socket (tcp_mem): clients that do not
// read would pin a megabyte each. The other pipes have the usual 64 KB.
constexpr size_t kLargePipes = 64;
constexpr int kRetryMs = 20;
constexpr int kTickMs = 1000;

class Engine {
 public:
  // Returns 0 or errno.
  int Open();

  // Returns 0 or errno. A descriptor leaves the loop when it is closed.
  int Watch(int fd, uint32_t events, Source* source);
  // Changes the events of a descriptor that is watched, which does not fail (epoll_ctl(2)).
  void Rewatch(int fd, uint32_t events, Source* source);

  void Again(Worker* worker);
  void Later(Worker* worker);
  // The worker is freed when the turn is over, and not called any more.
  void Bury(std::unique_ptr<Worker> worker);

  // Returns false if no pipe can be made: try again Later.
  bool TakePipe(Pipe* pipe);
  // The pipe must be empty; otherwise use SpoilPipe.
  void GivePipe(Pipe pipe);
  void SpoilPipe(Pipe pipe);

  // Waits for at most `patience_ms` (-1: as long as it takes), then calls all sources and workers that are due.
  void Turn(int patience_ms);
  // Milliseconds of the monotonic clock, as of the beginning of the turn.
  int64_t now() const { return now_; }

  // The number of connections and UDP clients at present.
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
