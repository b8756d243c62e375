// bond.h: what an owner's ports end with (docs/decisions/0046 and 0059): for each container of the owner's namespace
// processes, a pipe whose write end somebody else holds, or both.
//
// Guarantees: each process is the one that was named by pid and start time, and was alive when it was held. From then
// on its descriptor identifies it, so that a later process with its pid is never taken for it. A pipe is opened by the
// descriptor of such a process, and is the one that was named; nothing is read from it. A container ends with the first
// of what it is tied to. The end of the last container is reported once, in the turn of the loop that notices it, and
// not by a bond that is buried. Limits: pids are those of the pid namespace that this process is in, and of its /proc.
// A process that cannot be seen there (proc(5), hidepid) counts as ended.
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
  Bond(std::vector<Tie> to, std::function<void()> ended) : to_(std::move(to)), ended_(std::move(ended)) {}

  // Holds what has not ended. Fails with ESRCH if all containers have, or with the reason why something could not be
  // held.
  Failure Hold(Engine* engine);

  // Returns the ties as they were named, those of containers that have ended too.
  const std::vector<Tie>& to() const { return to_; }
  // Returns how many descriptors it may need.
  static size_t Descriptors(const std::vector<Tie>& to);
  void Work() override {}

 private:
  struct Container;
  struct Held : Source {
    Held(Container* of, UniqueFd descriptor) : container(of), fd(std::move(descriptor)) {}
    void Ready(uint32_t) override { container->bond->Ended(container); }

    Container* const container;
    UniqueFd fd;
  };
  struct Container {
    explicit Container(Bond* of) : bond(of) {}

    Bond* const bond;
    std::list<Held> held;  // the loop has their addresses
    bool ended = false;
  };

  Failure HoldContainer(Engine* engine, const Tie& tie, Container* container);
  void Ended(Container* container);

  const std::vector<Tie> to_;
  const std::function<void()> ended_;
  std::list<Container> containers_;
  size_t living_ = 0;
};

}  // namespace cleat_forwarder
