// input.cc: see input.h. With C++ exceptions off, a throwing getter leaves a pending exception behind and an empty
// value; every call into JavaScript is therefore followed by TakeException.
#include "input.h"

#include <cmath>

namespace cleat {

void Input::TakeException() {
  if (!env_.IsExceptionPending()) return;
  Napi::Error error = env_.GetAndClearPendingException();
  if (fault_.IsEmpty()) fault_ = error;
}

Napi::Value Input::Rejection() {
  TakeException();
  Napi::Promise::Deferred deferred = Napi::Promise::Deferred::New(env_);
  deferred.Reject(fault_.Value());
  return deferred.Promise();
}

Napi::Value Input::Throw() {
  TakeException();
  fault_.ThrowAsJavaScriptException();
  return env_.Undefined();
}

void Input::WrongType(const std::string& what, const char* expected) {
  TakeException();
  if (fault_.IsEmpty()) fault_ = Napi::TypeError::New(env_, what + " must be " + expected);
}

void Input::Fail(const Failure& failure) {
  TakeException();
  if (fault_.IsEmpty()) fault_ = ToError(env_, failure);
}

std::string Input::Text(Napi::Value value, const std::string& what) {
  if (!value.IsString()) {
    WrongType(what, "a string");
    return {};
  }
  std::string text = value.As<Napi::String>().Utf8Value();
  if (text.find('\0') != std::string::npos) WrongType(what, "a string without NUL bytes");
  return text;
}

std::optional<std::string> Input::OptionalText(Napi::Value value, const std::string& what) {
  if (value.IsUndefined()) return std::nullopt;
  return Text(value, what);
}

int64_t Input::Integer(Napi::Value value, const std::string& what, int64_t low, int64_t high) {
  double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  // Written so that NaN fails too.
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || number != std::floor(number)) {
    std::string expected = "an integer from " + std::to_string(low) + " to " + std::to_string(high);
    WrongType(what, expected.c_str());
    return low;
  }
  return static_cast<int64_t>(number);
}

std::optional<bool> Input::OptionalFlag(Napi::Value value, const std::string& what) {
  if (value.IsUndefined()) return std::nullopt;
  if (!value.IsBoolean()) {
    WrongType(what, "a boolean");
    return std::nullopt;
  }
  return value.As<Napi::Boolean>().Value();
}

Napi::Object Input::Object(Napi::Value value, const std::string& what) {
  if (value.IsObject()) return value.As<Napi::Object>();
  WrongType(what, "an object");
  return Napi::Object::New(env_);
}

Napi::Function Input::Function(Napi::Value value, const std::string& what) {
  if (value.IsFunction()) return value.As<Napi::Function>();
  WrongType(what, "a function");
  return {};
}

std::vector<Napi::Value> Input::Items(Napi::Value value, const std::string& what) {
  std::vector<Napi::Value> items;
  if (!value.IsArray()) {
    WrongType(what, "an array");
    return items;
  }
  Napi::Array array = value.As<Napi::Array>();
  uint32_t length = array.Length();
  for (uint32_t i = 0; i < length && ok(); i++) items.push_back(array.Get(i));
  return items;
}

std::vector<std::string> Input::Texts(Napi::Value value, const std::string& what) {
  std::vector<std::string> texts;
  for (Napi::Value item : Items(value, what)) texts.push_back(Text(item, what));
  return texts;
}

std::vector<std::pair<std::string, std::string>> Input::Pairs(Napi::Value value, const std::string& what) {
  std::vector<std::pair<std::string, std::string>> pairs;
  Napi::Object object = Object(value, what);
  Napi::Array keys = object.GetPropertyNames();
  if (!ok()) return pairs;
  uint32_t length = keys.Length();
  for (uint32_t i = 0; i < length && ok(); i++) {
    Napi::Value key = keys.Get(i);
    if (!ok()) break;
    std::string name = Text(key, what);
    pairs.emplace_back(name, Text(object.Get(key), what + "." + name));
  }
  return pairs;
}

Napi::Value Input::Get(Napi::Object object, const char* key) {
  Napi::Value value = object.Get(key);
  TakeException();
  return value.IsEmpty() ? env_.Undefined() : value;
}

std::optional<uint32_t> Input::OptionalUint(Napi::Object object, const char* key) {
  Napi::Value value = Get(object, key);
  if (value.IsUndefined()) return std::nullopt;
  return static_cast<uint32_t>(Integer(value, key, 0, UINT32_MAX));
}

IpAddress Input::ToAddress(const std::string& text) {
  std::optional<IpAddress> address = ParseIpAddress(text);
  if (address) return *address;
  Invalid("inet_pton", text);
  return {AF_INET, {}};
}

IpAddress Input::Address(Napi::Object object, const char* key) {
  return ToAddress(Text(object, key));
}

std::optional<IpAddress> Input::OptionalAddress(Napi::Object object, const char* key) {
  std::optional<std::string> text = OptionalText(object, key);
  if (!text) return std::nullopt;
  return ToAddress(*text);
}

std::optional<MacAddress> Input::OptionalMac(Napi::Object object, const char* key) {
  std::optional<std::string> text = OptionalText(object, key);
  if (!text) return std::nullopt;
  std::optional<MacAddress> mac = ParseMacAddress(*text);
  if (!mac) Invalid("ether_aton", *text);
  return mac;
}

}  // namespace cleat
