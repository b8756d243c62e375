// lane.h: threads that move the bytes of TCP connections, each with a loop of its own.
//
// A connection belongs to one lane from its first moment to its last. Everything else (accepting clients, dialling,
// datagrams, the daemon's requests) stays with the main thread.
//
// Guarantees: the lane does posted work in order. Limits: as many lanes as processors, kMaxLanes at most: with several
// connections at once, one thread carries a third less than rootlessport does on two processors.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "../budget.h"
#include "engine.h"

namespace cleat_forwarder {

class Connection;

constexpr size_t kMaxLanes = 4;

class Lane : public Source {
 public:
  explicit Lane(const Budget* budget) : budget_(budget) {}

  // Returns 0 or errno. The thread runs until the process ends.
  int Start();

  void Post(std::function<void()> work);
  // Runs `work` on the lane and returns when it is done. The lane itself must not call it.
  void Call(const std::function<void()>& work);

  Engine* engine() { return &engine_; }
  // The number of connections that the lane has, or will have as soon as it takes them.
  std::atomic<size_t> load = 0;
  // Connections with a closed direction; the one that has moved nothing for longest comes first. For the lane alone.
  std::list<Connection*> half_closed;

  void Ready(uint32_t events) override;

 private:
  void EndHalfClosed();

  const Budget* const budget_;
  Engine engine_;
  UniqueFd bell_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
};

class Lanes {
 public:
  explicit Lanes(const Budget* budget) : budget_(budget) {}

  // Returns 0 or errno.
  int Start();

  size_t count() const { return lanes_.size(); }
  Lane& operator[](size_t i) { return *lanes_[i]; }
  // Returns the number of the lane with the fewest connections.
  size_t Idlest() const;
  // Returns the number of connections of all lanes.
  size_t load() const;

 private:
  const Budget* const budget_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace cleat_forwarder
