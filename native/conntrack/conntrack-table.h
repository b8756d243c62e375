// conntrack-table.h: the connection tracking table of a namespace: how full it is, and the deletion of entries.
//
// Guarantees: an entry is deleted by its tuple and id, so that one made anew for the same tuple in between stays.
// Limits: worker threads only.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../nftables/nfnl.h"
#include "../node/input.h"
#include "conntrack-judge.h"

namespace cleat {

struct TableUse {
  uint32_t entries = 0;  // in this namespace
  uint32_t maximum = 0;  // per namespace (net.netfilter.nf_conntrack_max); 0: no limit
};

// Returns true if the kernel lacks connection tracking, or this part of it.
bool Unsupported(const Failure& failure);

// Sends one request, whatever the size of the table.
Failure ReadTableUse(Nfnl& socket, TableUse* use);

// Sends requests of DeleteRequest, which are numbered from 0 to kDeletesPerSend - 1 and over again. Adds to `deleted`
// the number of entries that still existed.
constexpr size_t kDeletesPerSend = 256;
Failure DeleteEntries(Nfnl& socket, const std::vector<std::string>& requests, size_t* deleted);

// Convert addresses from JavaScript to the bytes of a Tuple (event loop).
std::string ReadAddress(Input& input, const std::string& text, int* family = nullptr);
Subnet ReadSubnet(Input& input, const std::string& text);

}  // namespace cleat
