// failure.h: how a native operation reports what went wrong.
//
// Guarantees: every failure that reaches JavaScript is an Error with `code` (errno name, "ENODEV"), `errno` (positive
// number), `syscall` ("RTM_NEWLINK", "mount") and `object` (the object of the call: a path, an interface name). Nothing
// in the addon throws across a thread or returns a bare errno.
// Limits: the small executables, which have no JavaScript, use all but ToError; so this file does not include napi.h.
#pragma once

#include <cstring>
#include <string>

namespace Napi {
class Env;
class Error;
}  // namespace Napi

namespace cleat {

struct Failure {
  int error = 0;  // errno value, 0 = no failure
  std::string syscall;
  std::string object;

  explicit operator bool() const { return error != 0; }
};

// Returns errno's symbolic name ("EEXIST"); "E<number>" for one that has none.
inline std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "E" + std::to_string(error);
}

// Returns the JavaScript Error described at the top of this file.
Napi::Error ToError(Napi::Env env, const Failure& failure);

}  // namespace cleat
