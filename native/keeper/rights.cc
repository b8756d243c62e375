// rights.cc: see rights.h.
#include "rights.h"

#include <iterator>

#include "../confine.h"
#include "system-calls.h"

namespace cleat_keeper {

namespace {

// It has a dozen.
constexpr rlim_t kDescriptors = 64;

}  // namespace

cleat::Failure DropRights() {
  // It stays root, who owns the directory that it writes to, without root's capabilities. CAP_KILL: its program is
  // another user's.
  return cleat::Confine(
      {std::nullopt, cleat::CapabilityBit(CAP_KILL), kDescriptors, {std::begin(kSystemCalls), std::end(kSystemCalls)}});
}

}  // namespace cleat_keeper
