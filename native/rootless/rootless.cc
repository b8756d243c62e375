// cleat-rootless: puts an ordinary user's program into the user and mount namespace in which this user's cleat works.
//
//   cleat-rootless [--net PATH] -- PROGRAM [ARGUMENT...]
//
// The first call makes the namespaces, and a process that holds them (holder.h); every later one joins them. PROGRAM is
// executed in our own process, as root of that user namespace, which is the user outside. It stays in the network
// namespace of the caller, where a published port has to be listened on; with --net it enters the one at PATH.
// CLEAT_ROOTLESS tells it the directory that is $XDG_RUNTIME_DIR/cleat outside (mounts.h); not with --net, which is for
// programs of the user.
//
// Guarantees: whatever is missing is said in one line, with what to do about it in another, and nothing is left of a
// failed attempt. Our process id does not change, so a supervisor follows PROGRAM. Two calls at once make one holder.
// Limits: for ordinary users; root needs none of it. Supplementary groups stay as they are, as numbers without a name.
// Exit: that of PROGRAM; 1 the namespaces could not be had (125 with --net), 126 and 127 as shells say it, 2 usage.
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../namespaces/nsfile.h"
#include "../printable.h"
#include "holder.h"
#include "user.h"

namespace cleat_rootless {

namespace {

constexpr int kUsage = 2;
constexpr int kRunFailed = 125;
constexpr int kNotInvocable = 126;
constexpr int kNotFound = 127;

int Complain(const Trouble& trouble, int code) {
  std::fprintf(stderr, "Error: %s\n", cleat::Printable(trouble.message).c_str());
  if (!trouble.hint.empty()) std::fprintf(stderr, "Hint: %s\n", cleat::Printable(trouble.hint).c_str());
  return code;
}

// Setns moves us to the root of the other mount namespace. A directory that is not there is left for the root.
void GoBack(const char* directory) {
  if (chdir(directory) != 0) std::fprintf(stderr, "cleat-rootless: %s: %s\n", directory, strerror(errno));
}

int Become(const char* net, char* const* program) {
  const int failed = net != nullptr ? kRunFailed : EXIT_FAILURE;
  char directory[PATH_MAX];
  const bool somewhere = getcwd(directory, sizeof directory) != nullptr;
  User user;
  Place place;
  Trouble trouble = FindUser(&user);
  if (trouble.message.empty()) trouble = Enter(user, &place);
  if (!trouble.message.empty()) return Complain(trouble, failed);
  if (somewhere) GoBack(directory);
  if (net == nullptr) {
    setenv("CLEAT_ROOTLESS", place.directory.c_str(), 1);
    // The usual one, if none was named: the manager of the user's services listens there.
    setenv("XDG_RUNTIME_DIR", user.runtime.c_str(), 1);
  } else {
    cleat::UniqueFd netns;
    cleat::Failure failure = cleat::OpenAnyNetns(net, &netns);
    if (!failure && setns(netns.get(), CLONE_NEWNET) != 0) failure = {errno, "setns", net};
    if (failure) return Complain({failure.object + ": " + strerror(failure.error), ""}, failed);
  }
  execvp(program[0], program);
  return Complain({std::string(program[0]) + ": " + strerror(errno), ""}, errno == ENOENT ? kNotFound : kNotInvocable);
}

}  // namespace

}  // namespace cleat_rootless

int main(int argc, char** argv) {
  using namespace cleat_rootless;
  int at = 1;
  const char* net = nullptr;
  if (at + 1 < argc && strcmp(argv[at], "--net") == 0) {
    net = argv[at + 1];
    at += 2;
  }
  if (at + 1 >= argc || strcmp(argv[at], "--") != 0) {
    return Complain({"usage: cleat-rootless [--net PATH] -- PROGRAM [ARGUMENT...]", ""}, kUsage);
  }
  return Become(net, argv + at + 1);
}
