// supervisor.cc: see supervisor.h.
#include "supervisor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "../fd.h"
#include "../node/input.h"

namespace cleat {

namespace {

Napi::Value Throw(Napi::Env env, const Failure& failure) {
  ToError(env, failure).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value TakeSocket(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  const int fd = static_cast<int>(input.Integer(info[0], "fd", 0, INT32_MAX));
  if (!input.ok()) return input.Throw();
  const int flags = fcntl(fd, F_GETFD);
  if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0) {
    return Throw(info.Env(), {errno, "fcntl", "fd " + std::to_string(fd)});
  }
  const auto is = [fd](int option, int expected) {
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == expected;
  };
  sockaddr_un address{};
  socklen_t size = sizeof address;
  std::string path;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 && address.sun_family == AF_UNIX) {
    path = std::string(address.sun_path, strnlen(address.sun_path, sizeof address.sun_path));
  }
  Napi::Object object = Napi::Object::New(info.Env());
  object.Set("suitable", is(SO_DOMAIN, AF_UNIX) && is(SO_TYPE, SOCK_STREAM) && is(SO_ACCEPTCONN, 1));
  object.Set("path", path);
  return object;
}

Napi::Value SendDatagram(const Napi::CallbackInfo& info) {
  Input input(info.Env());
  const std::string name = input.Text(info[0], "socket");
  const std::string text = input.Text(info[1], "text");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if ((name[0] != '/' && name[0] != '@') || name.size() >= sizeof address.sun_path) input.Invalid("sendto", name);
  if (!input.ok()) return input.Throw();
  std::memcpy(address.sun_path, name.data(), name.size());
  // An abstract name begins with a zero byte, and ends with its last one: there is none behind it.
  if (name[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size() + (name[0] == '/' ? 1 : 0));
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return Throw(info.Env(), {errno, "socket", name});
  if (sendto(fd.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
             size) < 0) {
    return Throw(info.Env(), {errno, "sendto", name});
  }
  return info.Env().Undefined();
}

}  // namespace

void RegisterSupervisor(Napi::Env env, Napi::Object exports) {
  exports.Set("takeSocket", Napi::Function::New<TakeSocket>(env, "takeSocket"));
  exports.Set("sendDatagram", Napi::Function::New<SendDatagram>(env, "sendDatagram"));
}

}  // namespace cleat
