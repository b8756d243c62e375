// engine.cc: see engine.h.
#include "engine.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cleat_forwarder {

namespace {

constexpr size_t kReserve = 4;
constexpr size_t kMaxSpare = 32;
// Descriptors that a connection takes to begin: a client, a namespace, a socket in it; and a pipe.
constexpr size_t kForOne = 5;
constexpr int kEvents = 128;

bool MakePipe(Pipe* pipe) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  pipe->out.Reset(ends[0]);
  pipe->in.Reset(ends[1]);
  fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
  return true;
}

}  // namespace

int Engine::Open() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return errno;
  for (size_t i = 0; i < kReserve; ++i) {
    if (Pipe pipe; MakePipe(&pipe)) {
      pipes_.push_back(std::move(pipe));
    } else {
      return errno;
    }
  }
  Reckon();
  return 0;
}

int Engine::Watch(int fd, uint32_t events, Source* source) {
  epoll_event event{events, {source}};
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

void Engine::Rewatch(int fd, uint32_t events, Source* source) {
  epoll_event event{events, {source}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Engine::Again(Worker* worker) {
  if (std::exchange(worker->queued_, true)) return;
  again_.push_back(worker);
}

void Engine::Later(Worker* worker) {
  if (std::exchange(worker->queued_, true)) return;
  if (later_.empty()) retry_at_ = now_ + kRetryMs;
  later_.push_back(worker);
}

void Engine::Bury(std::unique_ptr<Worker> worker) {
  worker->buried_ = true;
  graveyard_.push_back(std::move(worker));
}

bool Engine::TakePipe(Pipe* pipe) {
  if (pipes_.empty()) return MakePipe(pipe);
  *pipe = std::move(pipes_.back());
  pipes_.pop_back();
  return true;
}

void Engine::GivePipe(Pipe pipe) {
  if (pipes_.size() < (open > 0 ? kMaxSpare : kReserve)) pipes_.push_back(std::move(pipe));
}

void Engine::SpoilPipe(Pipe pipe) {
  pipe = {};
  if (pipes_.size() < kReserve && MakePipe(&pipe)) pipes_.push_back(std::move(pipe));
}

bool Engine::HasRoom(int newest) const {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || static_cast<rlim_t>(newest) + 2 * kForOne < limit.rlim_cur) return true;
  UniqueFd tried[kForOne];
  for (UniqueFd& fd : tried) {
    fd.Reset(fcntl(epoll_.get(), F_DUPFD_CLOEXEC, 0));
    if (!fd) return false;
  }
  return true;
}

void Engine::Reckon() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  now_ = now.tv_sec * int64_t{1000} + now.tv_nsec / 1'000'000;
}

void Engine::Turn(int patience_ms) {
  int wait = patience_ms;
  if (!later_.empty()) {
    int left = static_cast<int>(std::clamp<int64_t>(retry_at_ - now_, 0, kRetryMs));
    wait = wait < 0 ? left : std::min(wait, left);
  }
  if (!again_.empty()) wait = 0;
  epoll_event events[kEvents];
  int count = epoll_wait(epoll_.get(), events, kEvents, wait);
  Reckon();
  // What was to be done again waits behind what has become ready meanwhile.
  std::vector<Worker*> due = std::exchange(again_, {});
  if (!later_.empty() && now_ >= retry_at_) {
    due.insert(due.end(), later_.begin(), later_.end());
    later_.clear();
  }
  for (int i = 0; i < count; ++i) static_cast<Source*>(events[i].data.ptr)->Ready(events[i].events);
  for (Worker* worker : due) {
    worker->queued_ = false;
    if (!worker->buried_) worker->Work();
  }
  if (!graveyard_.empty()) {
    auto forget = [](std::vector<Worker*>* list) {
      list->erase(std::remove_if(list->begin(), list->end(), [](Worker* worker) { return worker->buried(); }),
                  list->end());
    };
    forget(&again_);
    forget(&later_);
    graveyard_.clear();
  }
  if (open == 0 && pipes_.size() > kReserve) pipes_.resize(kReserve);
}

}  // namespace cleat_forwarder
