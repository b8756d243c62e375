#include "lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "node/failure.h"

namespace cleat {
namespace {

Napi::Value Lock(const Napi::CallbackInfo& info, int flags) {
  Napi::Env env = info.Env();
  if (!info[0].IsString()) {
    Napi::TypeError::New(env, "path is a string").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  std::string path = info[0].As<Napi::String>();
  int fd = open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    ToError(env, {errno, "open", path}).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return Napi::Boolean::New(env, true);  // fd stays open: it is the lock
  int error = errno;
  close(fd);
  if (error == EWOULDBLOCK) return Napi::Boolean::New(env, false);
  ToError(env, {error, "flock", path}).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value LockFile(const Napi::CallbackInfo& info) {
  return Lock(info, O_RDWR | O_CREAT);
}

Napi::Value LockDirectory(const Napi::CallbackInfo& info) {
  return Lock(info, O_RDONLY | O_DIRECTORY);
}

}  // namespace

void RegisterLock(Napi::Env env, Napi::Object exports) {
  exports.Set("lockFile", Napi::Function::New(env, LockFile));
  exports.Set("lockDirectory", Napi::Function::New(env, LockDirectory));
}

}  // namespace cleat
