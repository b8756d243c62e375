// rights.cc: see rights.h.
#include "rights.h"

#include <iterator>

#include "../processes/confine.h"
#include "system-calls.h"

namespace cleat_keeper {

namespace {

// The keeper has a dozen.
constexpr rlim_t kDescriptors = 64;

}  // namespace

cleat::Failure DropRights() {
  // It stays root, which owns the directory that it writes to, without root's capabilities. It needs CAP_KILL, because
  // its program is another user's.
  return cleat::Confine(
      {std::nullopt, cleat::CapabilityBit(CAP_KILL), kDescriptors, {std::begin(kSystemCalls), std::end(kSystemCalls)}});
}

}  // namespace cleat_keeper
