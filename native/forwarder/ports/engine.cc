// engine.cc: see engine.h.
#include "engine.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace cleat_forwarder {

namespace {

constexpr size_t kSpare = 4;
constexpr int kEvents = 128;

}  // namespace

int Engine::Open() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return errno;
  for (size_t i = 0; i < kSpare; ++i) {
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

bool Engine::MakePipe(Pipe* pipe) const {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return false;
  pipe->out.Reset(ends[0]);
  pipe->in.Reset(ends[1]);
  pipe->large = pipes_taken_ < kLargePipes;
  if (pipe->large) fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
  return true;
}

bool Engine::TakePipe(Pipe* pipe) {
  if (!pipes_.empty()) {
    *pipe = std::move(pipes_.back());
    pipes_.pop_back();
  } else if (!MakePipe(pipe)) {
    return false;
  }
  pipes_taken_++;
  return true;
}

void Engine::GivePipe(Pipe pipe) {
  pipes_taken_--;
  if (pipes_.size() == kSpare) return;
  Pipe larger;
  if (!pipe.large && pipes_taken_ < kLargePipes && MakePipe(&larger)) pipe = std::move(larger);
  pipes_.push_back(std::move(pipe));
}

void Engine::SpoilPipe(Pipe pipe) {
  pipes_taken_--;
  pipe = {};
  if (pipes_.size() < kSpare && MakePipe(&pipe)) pipes_.push_back(std::move(pipe));
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
  // Work that was queued earlier waits behind the sources that have become ready meanwhile.
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
}

}  // namespace cleat_forwarder
