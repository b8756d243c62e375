// failure.cc: see failure.h.
#include "failure.h"

#include <napi.h>

namespace cleat {

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
