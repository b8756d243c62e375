// port-holder.h: finds the process that holds a local port, through /proc.
//
// Guarantees: reads only. Limits: two passes over /proc, however many ports are requested, tens of milliseconds on a
// crowded machine; meant for the rare refusal, not for every probe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../netlink/address.h"

namespace cleat {

struct HeldPort {
  bool udp = false;
  IpAddress address;  // all zero: every address of the family
  uint16_t port = 0;
  // Found:
  uint64_t inode = 0;
  bool listening = false;
  int pid = 0;
  std::string command;
};

// Fills in the holders, as seen from the calling thread's network namespace. pid stays 0 if none is found.
void FindHolders(std::vector<HeldPort>& ports);

}  // namespace cleat
