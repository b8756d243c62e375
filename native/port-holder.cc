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

// The 32-bit words of an address, each printed as a host-order number (tcp4_seq_show, tcp6_seq_show).
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
  // ::ffff:a.b.c.d is the IPv4 address it says.
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
      // A listener is who holds a TCP port, not the connections that came in through it.
      bool listening = !udp && state == kListen;
      if (held.inode != 0 && (held.listening || !listening)) continue;
      held.inode = inode;
      held.listening = listening;
    }
  }
}

std::string CommandOf(const char* pid) {
  File file(fopen(("/proc/" + std::string(pid) + "/comm").c_str(), "re"));
  char text[64] = "";
  if (!file || fgets(text, sizeof text, file.get()) == nullptr) return "";
  text[strcspn(text, "\n")] = '\0';
  return text;
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
