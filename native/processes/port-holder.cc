// port-holder.cc: see port-holder.h.
#include "port-holder.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

namespace cleat {

namespace {

constexpr unsigned kListen = 10;  // TCP_LISTEN in net/tcp_states.h; udp sockets have other states

struct CloseFile {
  void operator()(FILE* file) const { fclose(file); }
  void operator()(DIR* directory) const { closedir(directory); }
};
using File = std::unique_ptr<FILE, CloseFile>;
using Directory = std::unique_ptr<DIR, CloseFile>;

bool IsAny(const IpAddress& address) {
  return std::all_of(address.bytes.begin(), address.bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Parses an address in 32-bit words, each printed as a host-order number (tcp4_seq_show, tcp6_seq_show).
bool ParseProcAddress(const char* text, IpAddress* address) {
  size_t words = strlen(text) / 8;
  if (words != 1 && words != 4) return false;
  address->family = words == 1 ? AF_INET : AF_INET6;
  for (size_t i = 0; i < words; i++) {
    char word[9] = "";
    memcpy(word, text + i * 8, 8);
    uint32_t value = static_cast<uint32_t>(strtoul(word, nullptr, 16));
    memcpy(address->bytes.data() + i * 4, &value, sizeof value);
  }
  // ::ffff:a.b.c.d stands for the IPv4 address in it.
  static constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (words == 4 && memcmp(address->bytes.data(), kMapped, sizeof kMapped) == 0) {
    IpAddress mapped{AF_INET, {}};
    memcpy(mapped.bytes.data(), address->bytes.data() + sizeof kMapped, 4);
    *address = mapped;
  }
  return true;
}

bool Overlap(const IpAddress& wanted, const IpAddress& held) {
  if (wanted.family == held.family) return IsAny(wanted) || IsAny(held) || wanted.bytes == held.bytes;
  // A dual-stack socket on :: takes IPv4 too. The other way round nothing collides: probes of IPv6 are v6-only.
  return wanted.family == AF_INET && IsAny(held);
}

void MatchSockets(const char* path, bool udp, std::vector<HeldPort>& ports) {
  File file(fopen(path, "re"));
  if (!file) return;
  char line[512];
  while (fgets(line, sizeof line, file.get()) != nullptr) {
    char local[40];
    unsigned port;
    unsigned state;
    unsigned long long inode;
    // sl local:port remote:port st tx:rx tr:tm retrnsmt uid timeout inode
    int fields = sscanf(line, " %*u: %39[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %llu", local,
                        &port, &state, &inode);
    IpAddress address;
    if (fields != 4 || inode == 0 || !ParseProcAddress(local, &address)) continue;
    for (HeldPort& held : ports) {
      if (held.udp != udp || held.port != port || !Overlap(held.address, address)) continue;
      // A TCP port is held by its listener, not by the connections that came in through it.
      bool listening = !udp && state == kListen;
      if (held.inode != 0 && (held.listening || !listening)) continue;
      held.inode = inode;
      held.listening = listening;
    }
  }
}

// Returns a small file in /proc; at most its first kMost bytes.
std::string TextOf(const std::string& path) {
  constexpr size_t kMost = 4096;
  File file(fopen(path.c_str(), "re"));
  std::string text(kMost, '\0');
  text.resize(file ? fread(text.data(), 1, text.size(), file.get()) : 0);
  return text;
}

std::string LastPart(const std::string& path) {
  constexpr size_t kMost = 64;  // somebody else chose the name
  return path.substr(path.rfind('/') + 1, kMost);
}

std::string ExecutableOf(const std::string& process) {
  char target[4096];
  ssize_t size = readlink((process + "/exe").c_str(), target, sizeof target);
  if (size <= 0) return "";
  std::string path(target, static_cast<size_t>(size));
  static const std::string kDeleted = " (deleted)";
  if (path.size() > kDeleted.size() && path.compare(path.size() - kDeleted.size(), kDeleted.size(), kDeleted) == 0) {
    path.resize(path.size() - kDeleted.size());
  }
  return LastPart(path);
}

// Returns the name that a process was started by. comm is the name that the kernel takes from the executed file, up to
// 15 bytes: the program, or a script (execve(2)). But it is the main thread's name, and some programs change that (Node
// from 22 on: MainThread). So comm counts only if it is the name of the executable or of a word of the command line;
// otherwise the executable's name counts.
std::string CommandOf(const char* pid) {
  constexpr size_t kCommSize = 15;  // TASK_COMM_LEN, without the NUL
  const std::string process = "/proc/" + std::string(pid);
  std::string comm = TextOf(process + "/comm");
  if (!comm.empty() && comm.back() == '\n') comm.pop_back();
  const std::string executable = ExecutableOf(process);
  const std::string words = TextOf(process + "/cmdline");
  std::string argv0;
  auto is_called = [&](const std::string& name) { return !name.empty() && name.substr(0, kCommSize) == comm; };
  if (executable.empty() && words.empty()) return comm;  // a kernel thread, or gone
  if (is_called(executable)) return executable;
  for (size_t at = 0; at < words.size();) {
    const size_t end = std::min(words.find('\0', at), words.size());
    std::string name = LastPart(words.substr(at, end - at));
    if (is_called(name)) return name;
    if (at == 0) argv0 = std::move(name);
    at = end + 1;
  }
  return executable.empty() ? argv0 : executable;
}

void MatchDescriptors(const char* pid, std::vector<HeldPort>& ports) {
  Directory directory(opendir(("/proc/" + std::string(pid) + "/fd").c_str()));
  if (!directory) return;
  while (const dirent* entry = readdir(directory.get())) {
    char target[64];
    ssize_t size = readlinkat(dirfd(directory.get()), entry->d_name, target, sizeof target - 1);
    if (size <= 0) continue;
    target[size] = '\0';
    unsigned long long inode;
    if (sscanf(target, "socket:[%llu]", &inode) != 1) continue;
    for (HeldPort& held : ports) {
      if (held.pid != 0 || held.inode != inode) continue;
      held.pid = atoi(pid);
      held.command = CommandOf(pid);
    }
  }
}

}  // namespace

void FindHolders(std::vector<HeldPort>& ports) {
  // thread-self: the worker thread is in the outside's namespace, the process as such need not be.
  MatchSockets("/proc/thread-self/net/tcp", false, ports);
  MatchSockets("/proc/thread-self/net/tcp6", false, ports);
  MatchSockets("/proc/thread-self/net/udp", true, ports);
  MatchSockets("/proc/thread-self/net/udp6", true, ports);
  auto open = [](const HeldPort& held) { return held.inode != 0 && held.pid == 0; };
  if (std::none_of(ports.begin(), ports.end(), open)) return;
  Directory processes(opendir("/proc"));
  if (!processes) return;
  while (const dirent* entry = readdir(processes.get())) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    MatchDescriptors(entry->d_name, ports);
    if (std::none_of(ports.begin(), ports.end(), open)) return;
  }
}

}  // namespace cleat
