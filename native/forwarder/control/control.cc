// control.cc: see control.h.
#include "control.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cleat_forwarder {

namespace {

constexpr size_t kMaxSessions = 16;
constexpr int kBacklog = 128;
constexpr size_t kRead = size_t{64} << 10;
// The memory of a request that is larger than this is released.
constexpr size_t kLarge = size_t{256} << 10;

}  // namespace

class Control::Session : public Source, public Worker {
 public:
  Session(Control* control, UniqueFd socket) : control_(control), socket_(std::move(socket)) {}

  bool Begin() { return control_->engine_->Watch(socket_.get(), EPOLLIN, this) == 0; }
  void Placed(std::list<Session*>::iterator self) { self_ = self; }

  void Ready(uint32_t events) override {
    if (buried()) return;
    if (!answer_.empty() && !Send()) return;
    // A line that waits is handled in Work; until then nothing more is received.
    bool waits = looked_ < received_.size();
    if (answer_.empty() && !waits && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) Receive();
  }
  void Work() override { Answer(); }

  void Close() {
    socket_.Reset();
    control_->sessions_.erase(self_);
    control_->engine_->Bury(std::unique_ptr<Worker>(this));
  }

 private:
  void Receive() {
    size_t before = received_.size();
    received_.resize(before + kRead);
    ssize_t n = recv(socket_.get(), received_.data() + before, kRead, 0);
    received_.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return Close();
    if (last_) return received_.clear();
    Answer();
  }

  // Handles one line, and the next one after others had their turn.
  void Answer() {
    size_t end = received_.find('\n', looked_);
    if (end == std::string::npos) {
      looked_ = received_.size();
      if (looked_ > kMaxRequest) Last("a request has " + std::to_string(kMaxRequest) + " bytes at most");
      return;
    }
    Request request;
    if (std::string problem = ReadRequest(received_.data(), end, &request); !problem.empty()) return Last(problem);
    answer_ = control_->table_->Handle(request) + "\n";
    received_.erase(0, end + 1);
    looked_ = 0;
    if (end > kLarge) {
      request = {};
      received_.shrink_to_fit();
      malloc_trim(0);
    }
    Send();
  }

  void Last(const std::string& problem) {
    answer_ = Refuse({"not a request: " + problem}) + "\n";
    last_ = true;
    Send();
  }

  // Returns true if all of the answer is sent and the session goes on.
  bool Send() {
    ssize_t n = send(socket_.get(), answer_.data() + sent_, answer_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
      Close();
      return false;
    }
    sent_ += static_cast<size_t>(std::max<ssize_t>(n, 0));
    if (sent_ < answer_.size()) {
      control_->engine_->Rewatch(socket_.get(), EPOLLOUT, this);
      return false;
    }
    // The socket is closed after the peer has closed: a peer that still writes would get an error before the answer
    // (unix(7)).
    if (last_) {
      shutdown(socket_.get(), SHUT_WR);
      received_.clear();
      received_.shrink_to_fit();
      looked_ = 0;
    }
    answer_.clear();
    answer_.shrink_to_fit();
    sent_ = 0;
    control_->engine_->Rewatch(socket_.get(), EPOLLIN, this);
    if (!received_.empty()) control_->engine_->Again(this);
    return true;
  }

  Control* const control_;
  UniqueFd socket_;
  std::list<Session*>::iterator self_;
  std::string received_;
  size_t looked_ = 0;  // no line ends before this offset
  std::string answer_;
  size_t sent_ = 0;
  bool last_ = false;
};

Control::~Control() {
  Close();
}

Failure Control::Open(const std::string& path, bool* taken) {
  size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  name_ = slash == std::string::npos ? path : path.substr(slash + 1);
  directory_.Reset(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory_) return {errno, "open"};
  lock_.Reset(openat(directory_.get(), (name_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_) return {errno, "openat"};
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    *taken = errno == EWOULDBLOCK;
    return {errno, "flock"};
  }
  // The former holder of the lock may have left its socket behind.
  if (unlinkat(directory_.get(), name_.c_str(), 0) != 0 && errno != ENOENT) return {errno, "unlinkat"};
  // Binds by the open directory, because a path may be longer than an address has room for (unix(7)).
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string place = "/proc/self/fd/" + std::to_string(directory_.get()) + "/" + name_;
  if (name_.empty() || place.size() >= sizeof address.sun_path) return {ENAMETOOLONG, "bind"};
  place.copy(address.sun_path, place.size());
  socket_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket_) return {errno, "socket"};
  mode_t mask = umask(0177);
  int error = bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  umask(mask);
  if (error != 0) return {error, "bind"};
  if (listen(socket_.get(), kBacklog) != 0) return {errno, "listen"};
  error = engine_->Watch(socket_.get(), EPOLLIN, this);
  return error == 0 ? Failure{} : Failure{error, "epoll_ctl"};
}

void Control::Close() {
  if (!socket_) return;
  unlinkat(directory_.get(), name_.c_str(), 0);
  socket_.Reset();
  while (!sessions_.empty()) sessions_.front()->Close();
}

void Control::Ready(uint32_t) {
  UniqueFd peer(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!peer) return;
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(peer.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return;
  if (who.uid != 0 && who.uid != owner_) return;
  if (sessions_.size() == kMaxSessions) sessions_.front()->Close();
  auto session = std::make_unique<Session>(this, std::move(peer));
  if (!session->Begin()) return;
  sessions_.push_back(session.get());
  session->Placed(std::prev(sessions_.end()));
  static_cast<void>(session.release());  // its own from here on: it is buried when it is closed
}

}  // namespace cleat_forwarder
