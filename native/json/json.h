// json.h: the JSON that the small executables read: a container state on stdin, answers and requests of the daemon.
//
// Guarantees: ParseJson is a pure function of (data, size): no I/O, no global state, no exception, no recursion deeper
// than kMaxJsonDepth, work and memory proportional to size. It accepts exactly RFC 8259 in UTF-8, and refuses ambiguous
// text: text after the value, a name given twice in one object, half a surrogate pair.
// Limits: a number stays text.
//
// Rejected: nlohmann/json and RapidJSON take a name that is given twice, and which of the two counts differs from
// parser to parser; simdjson does too, and is made for megabytes. jansson can refuse them (JSON_REJECT_DUPLICATES), but
// is a shared library that a host may not have, and that each start of a hook would load.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cleat {

// Runtimes and the daemon stay below 10.
constexpr int kMaxJsonDepth = 64;

struct JsonMember;

struct JsonValue {
  enum class Kind { kNull, kTrue, kFalse, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  std::string text;                 // a string decoded, a number as written
  std::vector<JsonMember> members;  // those of an object, in the order of the text
  std::vector<JsonValue> items;     // those of an array

  // Returns the member of that name, or nullptr; also nullptr if this is no object.
  const JsonValue* Find(std::string_view name) const;
  // Returns the string member of that name, or nullopt.
  std::optional<std::string> FindString(std::string_view name) const;
  // Returns the member of that name if it is a whole number that fits, or nullopt.
  std::optional<int64_t> FindInteger(std::string_view name) const;
};

struct JsonMember {
  std::string name;
  JsonValue value;
};

// Returns nullopt if the text is not one JSON value.
std::optional<JsonValue> ParseJson(const char* data, size_t size);

// Returns `text` as a JSON string, with its quotes. `text` must be UTF-8.
std::string QuoteJson(std::string_view text);

}  // namespace cleat
