// port-holder.h: from a local port to the process that holds it, through /proc.
//
// Guarantees: reads only. Limits: two passes over /proc for as many ports as asked, tens of milliseconds on a crowded
// machine; meant for the rare refusal, not for every probe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "address.h"

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

// Fill in the holders, as seen from the calling thread's network namespace. pid stays 0 where none is found.
void FindHolders(std::vector<HeldPort>& ports);

}  // namespace cleat
