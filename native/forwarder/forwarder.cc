// cleat-forwarder: carries the published ports of one outside network namespace into containers, without bridge or NAT.
//
//   cleat-forwarder --socket PATH [--idle SECONDS] [--user UID:GID] [--limit NAME=NUMBER]...
//
// It listens in the namespace it is started in, connects from inside the containers' namespaces, and moves the bytes
// with splice(2). The daemon sends it requests to publish ports (request.h); when the daemon ends, the forwarder and
// its connections live on.
//
// Guarantees: one process for all ports, with a fixed number of threads. Ports end with the processes that their owner
// is bound to (bond.h), whether there is a daemon or not. The forwarder ends by itself when it has had no port for
// SECONDS (10): it does not outlive its last port, whether there is a daemon or not. A second one for the same PATH
// ends at once with 0. SIGTERM ends it. As soon as it listens, it runs as UID and GID, with the few capabilities and
// system calls that it needs (rights.cc). Limits: needs CAP_SYS_ADMIN over the containers' namespaces and its own
// (setns(2)), and CAP_NET_ADMIN in the containers' for clients to keep their addresses. It raises its soft limit on
// descriptors to the hard one, and divides them among its owners; NAME is one of Limits (budget.h). As another user it
// cannot remove its socket when it ends: the process that started it does that, if nobody answers there. It passes
// nothing on to a successor: connections end with the process. Exit: 0 done or not needed, 1 it could not begin (the
// reason is on stderr), 2 called wrongly.
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "budget.h"
#include "control/control.h"
#include "control/table.h"
#include "ports/engine.h"
#include "ports/lane.h"
#include "ports/place.h"
#include "rights.h"

namespace cleat_forwarder {

namespace {

constexpr int64_t kIdleS = 10;
constexpr int64_t kMaxIdleS = 86'400;
constexpr int kUsage = 2;

struct Invocation {
  std::string socket;
  int64_t idle_s = kIdleS;
  Limits limits;
  std::optional<cleat::UserIds> user;
};

bool ReadNumber(std::string_view text, int64_t* out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size();
}

bool ReadLimit(std::string_view text, Limits* limits) {
  size_t equals = text.find('=');
  int64_t number;
  return equals != std::string_view::npos && ReadNumber(text.substr(equals + 1), &number) &&
         limits->Set(text.substr(0, equals), number);
}

bool ReadInvocation(int argc, char** argv, Invocation* out) {
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string_view option = argv[i];
    std::string_view value = argv[i + 1];
    if (option == "--socket") {
      out->socket = value;
    } else if (option == "--idle") {
      if (!ReadNumber(value, &out->idle_s) || out->idle_s < 1 || out->idle_s > kMaxIdleS) return false;
    } else if (option == "--limit") {
      if (!ReadLimit(value, &out->limits)) return false;
    } else if (option == "--user") {
      out->user = ReadUser(value);
      if (!out->user) return false;
    } else {
      return false;
    }
  }
  return argc % 2 == 1 && !out->socket.empty();
}

int Fail(const Failure& failure) {
  std::fprintf(stderr, "cleat-forwarder: %s: %s\n", failure.syscall.c_str(), std::strerror(failure.error));
  return 1;
}

class Termination : public Source {
 public:
  int Watch(Engine* engine) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, nullptr);
    fd_.Reset(signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
    return fd_ ? engine->Watch(fd_.get(), EPOLLIN, this) : errno;
  }
  void Ready(uint32_t) override { asked = true; }

  bool asked = false;

 private:
  UniqueFd fd_;
};

int Run(const Invocation& invocation) {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGHUP, SIG_IGN);
  signal(SIGINT, SIG_IGN);
  RaiseDescriptors();
  Budget budget;
  budget.SetLimits(invocation.limits);
  Engine engine;
  if (int error = engine.Open(); error != 0) return Fail({error, "epoll_create1, pipe2"});
  Lanes lanes(&budget);
  Table table(&engine, &lanes, &budget);
  Control control(&engine, &table);
  bool taken = false;
  // Comes before the socket: a client that can connect has to be answered.
  if (Failure failure = RememberHome()) return Fail(failure);
  Termination termination;
  if (int error = termination.Watch(&engine); error != 0) return Fail({error, "signalfd"});
  if (Failure failure = control.Open(invocation.socket, &taken)) return taken ? 0 : Fail(failure);
  if (Failure failure = DropRights(invocation.user)) {
    control.Close();
    return Fail(failure);
  }
  // Signals are blocked, and the lanes inherit that. From here on the process ends by _exit alone: the lanes run to the
  // last moment, and nothing that they use is destroyed before.
  if (int error = lanes.Start(); error != 0) {
    control.Close();
    _exit(Fail({error, "eventfd, epoll_create1, pipe2"}));
  }

  const int64_t idle_ms = invocation.idle_s * 1000;
  int64_t empty_since = engine.now();
  int64_t ticked = engine.now();
  bool to_tick = false;
  auto has_connections = [&] { return engine.open + lanes.load() > 0; };
  while (!termination.asked) {
    if (!table.empty()) {
      empty_since = engine.now();
    } else if (engine.now() - empty_since >= idle_ms) {
      break;
    }
    // Ticks once more after the last connection, to tidy up what that leaves.
    to_tick = to_tick || has_connections();
    bool had_ports = !table.empty();
    engine.Turn(to_tick || table.empty() ? kTickMs : -1);
    // The turn may have lasted as long as the container.
    if (had_ports) empty_since = engine.now();
    if (to_tick && engine.now() - ticked >= kTickMs) {
      ticked = engine.now();
      // Read before the tick: a connection that ends during the tick, or by it, is tidied up by the next.
      to_tick = has_connections();
      table.Tick();
    }
  }
  control.Close();
  table.End();
  _exit(0);
}

}  // namespace

}  // namespace cleat_forwarder

int main(int argc, char** argv) {
  cleat_forwarder::Invocation invocation;
  if (!cleat_forwarder::ReadInvocation(argc, argv, &invocation)) {
    std::fprintf(stderr,
                 "usage: cleat-forwarder --socket PATH [--idle SECONDS] [--user UID:GID] [--limit NAME=NUMBER]...\n");
    return cleat_forwarder::kUsage;
  }
  return cleat_forwarder::Run(invocation);
}
