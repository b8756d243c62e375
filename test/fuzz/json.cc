// Fuzz target: the JSON of the small executables (native/json/json.h).
//
// Checked besides memory: accepted text can be written down and read again as the same; depth and size are bounded;
// space around the text changes nothing; text with half of it missing or more behind it is refused.
#include "../../native/json/json.h"

#include <memory>

#include "must.h"

namespace {

using cleat::JsonMember;
using cleat::JsonValue;
using Kind = JsonValue::Kind;

bool Same(const JsonValue& a, const JsonValue& b) {
  if (a.kind != b.kind || a.text != b.text || a.members.size() != b.members.size()) return false;
  if (a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.members.size(); ++i) {
    if (a.members[i].name != b.members[i].name || !Same(a.members[i].value, b.members[i].value)) return false;
  }
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!Same(a.items[i], b.items[i])) return false;
  }
  return true;
}

std::string Write(const JsonValue& value, int depth) {
  MUST(depth <= cleat::kMaxJsonDepth);
  std::string text;
  switch (value.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kTrue:
      return "true";
    case Kind::kFalse:
      return "false";
    case Kind::kNumber:
      return value.text;
    case Kind::kString:
      return cleat::QuoteJson(value.text);
    case Kind::kArray:
      for (const JsonValue& item : value.items) text += (text.empty() ? "" : ",") + Write(item, depth + 1);
      return "[" + text + "]";
    case Kind::kObject:
      break;
  }
  for (const JsonMember& member : value.members) {
    text += (text.empty() ? "" : ",") + cleat::QuoteJson(member.name) + ":" + Write(member.value, depth + 1);
    MUST(value.Find(member.name) == &member.value);
  }
  return "{" + text + "}";
}

std::optional<JsonValue> Parse(const std::string& text) {
  // Copies the text without the NUL that a string has behind its end.
  const std::unique_ptr<char[]> bytes(new char[text.size()]);
  text.copy(bytes.get(), text.size());
  return cleat::ParseJson(bytes.get(), text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::optional<JsonValue> value = Parse(text);
  if (!value) return 0;
  const std::optional<JsonValue> again = Parse(Write(*value, 1));
  MUST(again && Same(*value, *again));
  const std::optional<JsonValue> spaced = Parse(" \t\r\n" + text + " \t\r\n");
  MUST(spaced && Same(*value, *spaced));
  MUST(!Parse(text + "x") && !Parse(text + "\"") && !Parse(text + " 0"));
  if (value->kind == Kind::kString || value->kind == Kind::kArray || value->kind == Kind::kObject) {
    MUST(!Parse(text.substr(0, text.find_last_of("\"]}"))));
  }
  return 0;
}
