// lane.cc: see lane.h.
#include "lane.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <thread>
#include <utility>

#include "tcp-connection.h"

namespace cleat_forwarder {

int Lane::Start() {
  if (int error = engine_.Open(); error != 0) return error;
  bell_.Reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!bell_) return errno;
  if (int error = engine_.Watch(bell_.get(), EPOLLIN, this); error != 0) return error;
  // Exceptions are off, so a thread that cannot be made ends the process, which has done nothing yet.
  std::thread([this] {
    while (true) {
      engine_.Turn(half_closed.empty() ? -1 : kTickMs);
      EndHalfClosed();
    }
  }).detach();
  return 0;
}

void Lane::EndHalfClosed() {
  int64_t patience = budget_->half_closed_ms();
  while (!half_closed.empty() && half_closed.front()->EndIfIdle(patience)) {
  }
}

void Lane::Post(std::function<void()> work) {
  {
    std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
    if (posted_.size() > 1) return;  // the first one has rung
  }
  eventfd_write(bell_.get(), 1);
}

void Lane::Call(const std::function<void()>& work) {
  std::promise<void> done;
  Post([&work, &done] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

void Lane::Ready(uint32_t) {
  eventfd_t rings;
  eventfd_read(bell_.get(), &rings);
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(mutex_);
    work = std::exchange(posted_, {});
  }
  for (const std::function<void()>& each : work) each();
}

int Lanes::Start() {
  cpu_set_t processors;
  bool known = sched_getaffinity(0, sizeof processors, &processors) == 0;
  size_t count = std::clamp<size_t>(known ? static_cast<size_t>(CPU_COUNT(&processors)) : 1, 1, kMaxLanes);
  while (lanes_.size() < count) {
    lanes_.push_back(std::make_unique<Lane>(budget_));
    if (int error = lanes_.back()->Start(); error != 0) return error;
  }
  return 0;
}

size_t Lanes::Idlest() const {
  auto less = [](const std::unique_ptr<Lane>& a, const std::unique_ptr<Lane>& b) { return a->load < b->load; };
  return static_cast<size_t>(std::min_element(lanes_.begin(), lanes_.end(), less) - lanes_.begin());
}

size_t Lanes::load() const {
  size_t sum = 0;
  for (const auto& lane : lanes_) sum += lane->load;
  return sum;
}

}  // namespace cleat_forwarder
