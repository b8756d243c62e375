// Traffic for the benchmarks of published ports: the same sender and receiver for every contender.
//
//   load serve PORT                         serves on every IPv4 address; `ready` on stdout once it listens
//   load send ADDRESS PORT STREAMS MS       sends over STREAMS connections at once for MS milliseconds
//   load fetch ADDRESS PORT STREAMS MS      receives
//   load echo ADDRESS PORT STREAMS MS       a byte there and a byte back, again and again over the same connections
//   load dial ADDRESS PORT STREAMS COUNT MS makes COUNT connections, or as many as there is time for: connect, a byte
//                                           there, a byte back, close; STREAMS at a time
//
// A client answers `ok AMOUNT NANOSECONDS` (bytes, round trips, connections) or `error STEP REASON`. The first byte of
// a connection selects what the server does: after s, it reads to the end and answers with the number of bytes; after
// g, it sends until the connection is closed; it answers e, and all that follows it, with one byte each time.
//
// Guarantees: bytes that count as sent have been read by the server in the container; bytes in the buffers of a
// forwarder do not count. All connections of a transfer stand before its clock starts; the time of a dial is all of it.
// The clock is CLOCK_MONOTONIC. Limits: the server has one thread; a client has one for each stream; no answer within
// 10 s is an error.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../../native/fd.h"

namespace load_bench {

namespace {

using cleat::UniqueFd;

// The block size of iperf3 for TCP.
constexpr size_t kBlock = size_t{128} << 10;
constexpr int kBacklog = 4096;
constexpr int kEvents = 64;
constexpr int kPatienceS = 10;
constexpr int kUsage = 2;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

struct Failure {
  const char* step = nullptr;
  int error = 0;
};

void NoDelay(int socket) {
  constexpr int kOn = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &kOn, sizeof kOn);
}

// One client of the server.
struct Session {
  UniqueFd socket;
  char kind = 0;
  uint64_t bytes = 0;
};

class Server {
 public:
  Failure Open(uint16_t port) {
    listener_.Reset(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    constexpr int kOn = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &kOn, sizeof kOn);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return {"bind", errno};
    if (listen(listener_.get(), kBacklog) != 0) return {"listen", errno};
    epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_ || !Watch(EPOLL_CTL_ADD, listener_.get(), EPOLLIN, nullptr)) return {"epoll", errno};
    return {};
  }

  [[noreturn]] void Run() {
    for (;;) {
      epoll_event events[kEvents];
      int count = epoll_wait(epoll_.get(), events, kEvents, -1);
      for (int i = 0; i < count; ++i) {
        auto* session = static_cast<Session*>(events[i].data.ptr);
        if (session == nullptr) {
          Accept();
        } else if (!Serve(session)) {
          delete session;
        }
      }
    }
  }

 private:
  bool Watch(int what, int fd, uint32_t events, Session* session) {
    epoll_event event{events, {session}};
    return epoll_ctl(epoll_.get(), what, fd, &event) == 0;
  }

  void Accept() {
    for (;;) {
      UniqueFd client(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!client) return;
      NoDelay(client.get());
      auto session = std::make_unique<Session>();
      session->socket = std::move(client);
      if (!Watch(EPOLL_CTL_ADD, session->socket.get(), EPOLLIN, session.get())) continue;
      static_cast<void>(session.release());  // deleted when it has ended
    }
  }

  // Serves one block, then the others have their turn. Returns false when the session is over.
  bool Serve(Session* session) {
    int socket = session->socket.get();
    if (session->kind == 'g') {
      ssize_t n = send(socket, block_.data(), block_.size(), MSG_NOSIGNAL);
      return n > 0 || errno == EAGAIN;
    }
    ssize_t n = recv(socket, block_.data(), block_.size(), 0);
    if (n < 0) return errno == EAGAIN;
    if (n == 0) {
      if (session->kind == 's') send(socket, &session->bytes, sizeof session->bytes, MSG_NOSIGNAL);
      return false;
    }
    session->bytes += static_cast<uint64_t>(n);
    if (session->kind == 0) {
      session->kind = block_[0];
      if (session->kind == 'g') return Watch(EPOLL_CTL_MOD, socket, EPOLLOUT, session);
    }
    return session->kind != 'e' || send(socket, "e", 1, MSG_NOSIGNAL) == 1;
  }

  UniqueFd listener_;
  UniqueFd epoll_;
  std::vector<char> block_ = std::vector<char>(kBlock);
};

class Client {
 public:
  Client(const sockaddr_in& to, int streams) : to_(to), streams_(static_cast<size_t>(streams)) {}

  // Transfers over connections that stand: calls `move` with each, and with the time to stop.
  template <typename Move>
  void Transfer(char kind, int64_t ms, Move move) {
    std::vector<UniqueFd> sockets(streams_);
    for (UniqueFd& socket : sockets) {
      if (!Connect(&socket)) return;
      if (send(socket.get(), &kind, 1, MSG_NOSIGNAL) != 1) return Fail("send");
    }
    start_ = Now();
    int64_t until = start_ + ms * 1'000'000;
    std::vector<std::thread> threads;
    threads.reserve(sockets.size());
    for (UniqueFd& socket : sockets) {
      threads.emplace_back([this, &socket, until, move] { (this->*move)(socket.get(), until); });
    }
    for (std::thread& thread : threads) thread.join();
    end_ = Now();
  }

  void Send(int socket, int64_t until) {
    std::vector<char> block(kBlock);
    while (Now() < until) {
      if (send(socket, block.data(), block.size(), MSG_NOSIGNAL) <= 0) return Fail("send");
    }
    shutdown(socket, SHUT_WR);
    uint64_t read = 0;
    if (recv(socket, &read, sizeof read, MSG_WAITALL) != sizeof read) return Fail("recv");
    amount_ += read - 1;  // without the first one, which came before the clock
  }

  void Fetch(int socket, int64_t until) {
    std::vector<char> block(kBlock);
    while (Now() < until) {
      ssize_t n = recv(socket, block.data(), block.size(), 0);
      if (n <= 0) return Fail("recv");
      amount_ += static_cast<uint64_t>(n);
    }
  }

  // The first byte has been sent: its answer is the first that comes.
  void Echo(int socket, int64_t until) {
    char byte = 'e';
    while (Now() < until) {
      if (recv(socket, &byte, 1, 0) != 1) return Fail("recv");
      ++amount_;
      if (send(socket, &byte, 1, MSG_NOSIGNAL) != 1) return Fail("send");
    }
  }

  void Dial(uint64_t count, int64_t ms) {
    start_ = Now();
    int64_t until = start_ + ms * 1'000'000;
    std::atomic<uint64_t> begun{0};
    std::vector<std::thread> threads;
    for (size_t i = 0; i < streams_; ++i) {
      threads.emplace_back([this, &begun, count, until] {
        while (begun++ < count && Now() < until && DialOnce()) ++amount_;
      });
    }
    for (std::thread& thread : threads) thread.join();
    end_ = Now();
  }

  int Answer() const {
    if (failed_step_ != nullptr) {
      std::printf("error %s %s\n", failed_step_.load(), std::strerror(failed_error_));
      return 1;
    }
    std::printf("ok %llu %lld\n", static_cast<unsigned long long>(amount_), static_cast<long long>(end_ - start_));
    return 0;
  }

 private:
  bool Connect(UniqueFd* out) {
    out->Reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    timeval patience{kPatienceS, 0};
    for (int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
      setsockopt(out->get(), SOL_SOCKET, option, &patience, sizeof patience);
    }
    NoDelay(out->get());
    if (connect(out->get(), reinterpret_cast<const sockaddr*>(&to_), sizeof to_) == 0) return true;
    Fail("connect");
    return false;
  }

  bool DialOnce() {
    UniqueFd socket;
    if (!Connect(&socket)) return false;
    char byte = 'e';
    bool answered = send(socket.get(), &byte, 1, MSG_NOSIGNAL) == 1 && recv(socket.get(), &byte, 1, 0) == 1;
    if (!answered) Fail("recv");
    return answered;
  }

  void Fail(const char* step) {
    failed_error_ = errno;
    failed_step_ = step;
  }

  const sockaddr_in to_;
  const size_t streams_;
  std::atomic<uint64_t> amount_{0};
  std::atomic<const char*> failed_step_{nullptr};
  std::atomic<int> failed_error_{0};
  int64_t start_ = 0;
  int64_t end_ = 0;
};

int Serve(uint16_t port) {
  Server server;
  if (Failure failure = server.Open(port); failure.step != nullptr) {
    std::fprintf(stderr, "load: %s: %s\n", failure.step, std::strerror(failure.error));
    return 1;
  }
  std::puts("ready");
  std::fflush(stdout);
  server.Run();
}

int Run(const std::vector<std::string>& args) {
  auto number = [&args](size_t i) { return std::strtoll(args[i].c_str(), nullptr, 10); };
  const std::string& verb = args[0];
  if (verb == "serve" && args.size() == 2) return Serve(static_cast<uint16_t>(number(1)));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  if (args.size() < 5 || inet_pton(AF_INET, args[1].c_str(), &to.sin_addr) != 1) return kUsage;
  to.sin_port = htons(static_cast<uint16_t>(number(2)));
  Client client(to, static_cast<int>(number(3)));
  if (verb == "send" && args.size() == 5) {
    client.Transfer('s', number(4), &Client::Send);
  } else if (verb == "fetch" && args.size() == 5) {
    client.Transfer('g', number(4), &Client::Fetch);
  } else if (verb == "echo" && args.size() == 5) {
    client.Transfer('e', number(4), &Client::Echo);
  } else if (verb == "dial" && args.size() == 6) {
    client.Dial(static_cast<uint64_t>(number(4)), number(5));
  } else {
    return kUsage;
  }
  return client.Answer();
}

}  // namespace

}  // namespace load_bench

int main(int argc, char** argv) {
  if (argc < 2) return load_bench::kUsage;
  return load_bench::Run({argv + 1, argv + argc});
}
