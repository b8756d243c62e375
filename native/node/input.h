// input.h: turns JavaScript arguments into C++ values without trusting them.
//
// Guarantees:
// - A value of the wrong type is a TypeError that names it; a value of the right type that means nothing (address text)
//   is a KernelError EINVAL with the text as object. The first fault wins, later reads return harmless defaults.
// - Getters and proxies that throw are survived: the exception becomes the fault.
// - Text never contains a NUL byte, so its c_str() is all of it.
//
// Use: read everything, then `if (!input.ok()) return input.Rejection();`. Event loop only.
#pragma once

#include <napi.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../netlink/address.h"
#include "failure.h"

namespace cleat {

class Input {
 public:
  explicit Input(Napi::Env env) : env_(env) {}

  bool ok() {
    TakeException();
    return fault_.IsEmpty();
  }
  // A promise rejected with the fault.
  Napi::Value Rejection();
  // Throws the fault, for functions that return their result directly.
  Napi::Value Throw();

  // Records a fault.
  void WrongType(const std::string& what, const char* expected);
  void Fail(const Failure& failure);
  void Invalid(const char* syscall, const std::string& object) { Fail({EINVAL, syscall, object}); }

  // Values by themselves; `what` names them in a TypeError.
  std::string Text(Napi::Value value, const std::string& what);
  std::optional<std::string> OptionalText(Napi::Value value, const std::string& what);
  int64_t Integer(Napi::Value value, const std::string& what, int64_t low, int64_t high);
  std::optional<bool> OptionalFlag(Napi::Value value, const std::string& what);
  Napi::Object Object(Napi::Value value, const std::string& what);
  Napi::Function Function(Napi::Value value, const std::string& what);
  // The elements of an array.
  std::vector<Napi::Value> Items(Napi::Value value, const std::string& what);
  std::vector<std::string> Texts(Napi::Value value, const std::string& what);
  // The properties of a Record<string, string>, in order.
  std::vector<std::pair<std::string, std::string>> Pairs(Napi::Value value, const std::string& what);

  // Properties of an object.
  Napi::Value Get(Napi::Object object, const char* key);
  std::string Text(Napi::Object object, const char* key) { return Text(Get(object, key), key); }
  std::optional<std::string> OptionalText(Napi::Object object, const char* key) {
    return OptionalText(Get(object, key), key);
  }
  uint32_t Uint(Napi::Object object, const char* key, int64_t high = UINT32_MAX) {
    return static_cast<uint32_t>(Integer(Get(object, key), key, 0, high));
  }
  std::optional<uint32_t> OptionalUint(Napi::Object object, const char* key);
  std::optional<bool> OptionalFlag(Napi::Object object, const char* key) { return OptionalFlag(Get(object, key), key); }
  IpAddress Address(Napi::Object object, const char* key);
  std::optional<IpAddress> OptionalAddress(Napi::Object object, const char* key);
  std::optional<MacAddress> OptionalMac(Napi::Object object, const char* key);
  IpAddress ToAddress(const std::string& text);

 private:
  void TakeException();

  Napi::Env env_;
  Napi::Error fault_;
};

}  // namespace cleat
