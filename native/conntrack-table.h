// conntrack-table.h: the connection tracking table of a namespace: how full it is, and the deletion of entries.
//
// Guarantees: an entry is deleted by its tuple and id, so that one made anew for the same tuple in between stays.
// Limits: worker threads only.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "conntrack-judge.h"
#include "input.h"
#include "nfnl.h"

namespace cleat {

struct TableUse {
  uint32_t entries = 0;  // of this namespace
  uint32_t maximum = 0;  // of every namespace for itself (net.netfilter.nf_conntrack_max); 0: there is none
};

// Whether the kernel lacks (this part of) connection tracking.
bool Unsupported(const Failure& failure);

// Asks one question, whatever the size of the table.
Failure ReadTableUse(Nfnl& socket, TableUse* use);

// Sends what DeleteRequest made, numbered from 0 to kDeletesPerSend - 1 and over again. deleted grows by how many there
// still were.
constexpr size_t kDeletesPerSend = 256;
Failure DeleteEntries(Nfnl& socket, const std::vector<std::string>& requests, size_t* deleted);

// Addresses of JavaScript as the bytes of a Tuple (event loop).
std::string ReadAddress(Input& input, const std::string& text, int* family = nullptr);
Subnet ReadSubnet(Input& input, const std::string& text);

}  // namespace cleat
