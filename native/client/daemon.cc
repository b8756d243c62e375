// daemon.cc: see daemon.h.
#include "daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "../fd.h"
#include "ask.h"
#include "launch.h"
#include "place.h"

namespace cleat_client {

namespace {

using cleat::UniqueFd;

// Between looks at what says nothing when it changes: a lock, a socket that is not there yet.
constexpr int kLookMs = 3;

enum class Found {
  kRight,
  kNobody,  // nobody listens, or who did has just left
  kOther,   // a daemon of another namespace or user, or one that the caller may not reach
  kBroken,  // no answer that could be understood
};

struct Sight {
  Found found = Found::kNobody;
  std::string problem;
};

bool IsMine(const Connection& connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(connection.fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

// Connects, and asks which namespace is served there.
Sight LookAt(const std::string& socket, const Netns& netns, const Deadline& deadline, Connection* out) {
  if (std::string problem = Connection::Open(socket, deadline, out); !problem.empty()) {
    const int error = out->error();
    if (error == ENOENT || error == ECONNREFUSED) return {Found::kNobody, problem};
    return {error == EACCES || error == EPERM || error == ENOTDIR ? Found::kOther : Found::kBroken, problem};
  }
  if (!IsMine(*out)) return {Found::kOther, "the daemon at " + socket + " is another user's"};
  Answer answer;
  if (std::string problem = Ask(out, {"GET", "/v1/version", "", false, ""}, deadline, &answer); !problem.empty()) {
    const int error = out->error();
    return {error == ECONNRESET || error == EPIPE ? Found::kNobody : Found::kBroken, problem};
  }
  if (!answer.ok()) return {Found::kBroken, "the daemon at " + socket + ": " + Describe(answer)};
  const cleat::JsonValue* served = answer.body.Find("netns");
  const bool here = served != nullptr && served->FindInteger("dev") == static_cast<int64_t>(netns.dev) &&
                    served->FindInteger("ino") == static_cast<int64_t>(netns.ino);
  if (here) return {Found::kRight, ""};
  return {Found::kOther, "the daemon at " + socket + " works in another network namespace"};
}

// A lock on the place's directory. Who starts a daemon there has it, and a daemon that leaves.
class StartLock {
 public:
  explicit StartLock(const std::string& directory) : directory_(directory) {}

  enum class State { kHeld, kBusy, kGone };

  State Try() {
    if (!fd_) fd_.Reset(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd_) return State::kGone;
    if (flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) return State::kBusy;
    struct stat locked {};
    struct stat found {};
    if (fstat(fd_.get(), &locked) == 0 && lstat(directory_.c_str(), &found) == 0 && locked.st_dev == found.st_dev &&
        locked.st_ino == found.st_ino) {
      return State::kHeld;
    }
    fd_.Reset();  // the daemon that had the lock has removed the directory
    return State::kGone;
  }

 private:
  const std::string& directory_;
  UniqueFd fd_;
};

// Returns true if a daemon has the directory: it comes, or it goes.
bool IsTaken(const Place& place) {
  UniqueFd fd(open((place.directory + "/lock").c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return fd && flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

std::vector<std::string> ArgumentsFor(const Place& place) {
  std::vector<std::string> arguments{"daemon", "--exit-when-idle", "--log-level", "warn"};
  if (place.machine) return arguments;
  for (const auto& [flag, below] : {std::pair{"--run-dir", ""}, {"--state-dir", "/state"}, {"--netns-dir", "/netns"}}) {
    arguments.emplace_back(flag);
    arguments.push_back(place.directory + below);
  }
  return arguments;
}

bool IsNobody(const Sight& sight) {
  return sight.found == Found::kNobody;
}

std::string TooLate(const std::string& what) {
  return "the daemon of this network namespace " + what + " in time";
}

// Removes what was made for a daemon that has not come, unless something is in it.
void Forget(const Place& place, const std::string& log) {
  unlink(log.c_str());
  if (rmdir(place.directory.c_str()) == 0 && !place.machine) rmdir(BaseOf(place).c_str());
}

// Starts a daemon and waits until it answers; the caller has the lock.
std::string Start(const Program& program, const Place& place, const Netns& netns, const Deadline& deadline,
                  Daemon* out) {
  const std::string log = place.directory + "/daemon.log";
  UniqueFd pidfd;
  if (std::string problem = Launch(program, ArgumentsFor(place), log, &pidfd); !problem.empty()) {
    Forget(place, log);
    return "the daemon is not running and cannot be started: " + problem;
  }
  while (true) {
    pollfd ended{pidfd.get(), POLLIN, 0};
    const bool over = poll(&ended, 1, std::min(kLookMs, deadline.Left())) > 0;
    Sight sight = LookAt(place.socket(), netns, deadline, &out->connection);
    if (sight.found == Found::kRight) {
      out->started = !over;
      return "";
    }
    if (!IsNobody(sight)) return sight.problem;
    if (over) {
      if (IsTaken(place)) return "";  // somebody else has started one meanwhile, or one is about to end
      std::string words = LastWords(log);
      Forget(place, log);
      return "the daemon was started, and ended at once: " + (words.empty() ? "it said nothing" : words);
    }
    if (deadline.Left() == 0) return TooLate("did not get ready");
  }
}

// Looks at the place until a daemon answers there, and starts one if nobody else does.
std::string FindOrStart(const Place& place, const Netns& netns, const Deadline& deadline, Daemon* out) {
  Program program;
  if (std::string problem = FindProgram(&program); !problem.empty()) {
    return "the daemon is not running and cannot be started: " + problem;
  }
  StartLock lock(place.directory);
  while (true) {
    if (std::string problem = MakePlace(place); !problem.empty()) {
      return "the daemon is not running and cannot be started: " + problem;
    }
    const StartLock::State state = lock.Try();
    // With the lock, no daemon leaves between this and the start; without it, somebody else's may have become ready.
    Sight sight = LookAt(place.socket(), netns, deadline, &out->connection);
    if (sight.found == Found::kRight) return "";
    if (!IsNobody(sight)) return sight.problem;
    if (state == StartLock::State::kHeld && !IsTaken(place)) {
      std::string problem = Start(program, place, netns, deadline, out);
      if (!problem.empty() || out->started) return problem;
    }
    if (deadline.Left() == 0) return TooLate("did not get ready");
    poll(nullptr, 0, std::min(kLookMs, deadline.Left()));
  }
}

}  // namespace

std::string FindDaemon(const DaemonOptions& options, const Deadline& deadline, Daemon* out) {
  out->started = false;
  if (std::optional<std::string> chosen = ChosenSocket(options.socket)) {
    return Connection::Open(*chosen, deadline, &out->connection);
  }
  Netns netns;
  if (std::string problem = OwnNetns(&netns); !problem.empty()) return problem;
  Place place;
  const std::string no_place = FindPlace(netns, &place);
  // What a daemon has left here, it is to find again: it comes before daemons of others, also when it was killed.
  struct stat left {};
  const bool first = no_place.empty() && (place.machine || lstat(place.socket().c_str(), &left) == 0);
  if (!first) {
    for (const std::string& socket : place.others) {
      const Sight sight = LookAt(socket, netns, deadline, &out->connection);
      if (sight.found == Found::kRight) return "";
      if (sight.found == Found::kBroken) return sight.problem;
    }
  }
  if (!no_place.empty()) return "the daemon is not running: " + no_place;
  if (first) {
    const Sight sight = LookAt(place.socket(), netns, deadline, &out->connection);
    if (sight.found == Found::kRight) return "";
    if (!IsNobody(sight)) return sight.problem;
  }
  if (geteuid() != 0) {
    return "the daemon is not running, and only root can start it: run `cleat daemon` as root, or enable cleat.socket";
  }
  return FindOrStart(place, netns, deadline, out);
}

}  // namespace cleat_client
