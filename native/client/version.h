// version.h: the version that the executables print.
//
// Guarantees: that of package.json (test/fronts/netavark-arguments.test.ts compares them). Limits: it is written by
// hand.
#pragma once

namespace cleat_client {

constexpr const char* kVersion = "0.1.0";

}  // namespace cleat_client
