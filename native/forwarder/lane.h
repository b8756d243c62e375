// lane.h: threads that move the bytes of TCP connections, each with a loop of its own.
//
// A connection belongs to one lane from its first moment to its last. Everything else (taking clients in, dialling,
// datagrams, the daemon's requests) stays with the thread that main has.
//
// Guarantees: what is posted is done in order, by the lane. Limits: as many lanes as processors, kMaxLanes at most:
// with several connections at once, one thread carries a third less than rootlessport does on two processors.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <vector>

#include "budget.h"
#include "engine.h"

namespace cleat_forwarder {

class Connection;

constexpr size_t kMaxLanes = 4;

class Lane : public Source {
 public:
  explicit Lane(const Budget* budget) : budget_(budget) {}

  // 0 or errno. Its thread runs until the process ends.
  int Start();

  void Post(std::function<void()> work);
  // Returns when it is done. Not from the lane itself.
  void Call(const std::function<void()>& work);

  Engine* engine() { return &engine_; }
  // Connections that it has, or will have as soon as it comes to it.
  std::atomic<size_t> load = 0;
  // Connections with a closed direction; the one comes first that has moved nothing for longest. The lane's own.
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

  // 0 or errno.
  int Start();

  size_t count() const { return lanes_.size(); }
  Lane& operator[](size_t i) { return *lanes_[i]; }
  // The number of the one with the least to do.
  size_t Idlest() const;
  // Of all of them.
  size_t load() const;

 private:
  const Budget* const budget_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace cleat_forwarder
