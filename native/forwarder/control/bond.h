// bond.h: the processes whose end also ends the ports of an owner (docs/decisions/0046).
//
// Guarantees: each process is the one that was named by pid and start time, and was alive when it was held. From then
// on its descriptor identifies it, so that a later process with its pid is never taken for it. The end of the last of
// them is reported once, in the turn of the loop that notices it, and not by a bond that is buried. Limits: pids are
// those of the pid namespace that this process is in, and of its /proc. A process that cannot be seen there (proc(5),
// hidepid) counts as ended.
#pragma once

#include <functional>
#include <list>
#include <vector>

#include "../../node/failure.h"
#include "../ports/engine.h"
#include "request.h"

namespace cleat_forwarder {

using cleat::Failure;

class Bond : public Worker {
 public:
  Bond(std::vector<Process> to, std::function<void()> ended) : to_(std::move(to)), ended_(std::move(ended)) {}

  // Holds the processes that live. Fails with ESRCH if none lives, or with the reason why one could not be held.
  Failure Hold(Engine* engine);

  // Returns the processes as they were named, those that have ended too.
  const std::vector<Process>& to() const { return to_; }
  void Work() override {}

 private:
  struct Held : Source {
    Held(Bond* of, UniqueFd process) : bond(of), pidfd(std::move(process)) {}
    void Ready(uint32_t) override { bond->Ended(this); }

    Bond* const bond;
    UniqueFd pidfd;
  };

  void Ended(Held* held);

  const std::vector<Process> to_;
  const std::function<void()> ended_;
  std::list<Held> held_;  // the loop has their addresses
  size_t living_ = 0;
};

}  // namespace cleat_forwarder
