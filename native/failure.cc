// failure.cc: see failure.h.
#include "failure.h"

#include <cstring>

namespace cleat {

std::string ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "E" + std::to_string(error);
}

Napi::Error ToError(Napi::Env env, const Failure& failure) {
  std::string text = failure.syscall + " " + failure.object + ": " + strerror(failure.error);
  Napi::Error error = Napi::Error::New(env, text);
  error.Set("code", ErrnoName(failure.error));
  error.Set("errno", static_cast<double>(failure.error));
  error.Set("syscall", failure.syscall);
  error.Set("object", failure.object);
  return error;
}

}  // namespace cleat
