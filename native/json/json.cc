// json.cc: see json.h. Section numbers are those of RFC 8259.
#include "json.h"

#include <charconv>
#include <set>

namespace cleat {

namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

void AppendUtf8(uint32_t code, std::string* out) {
  auto put = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

// Returns the length of the well-formed UTF-8 sequence at the start of `rest` (Unicode 15, table 3-7), 0 if there is
// none.
size_t Utf8Length(std::string_view rest) {
  auto byte = [rest](size_t i) -> unsigned { return i < rest.size() ? static_cast<unsigned char>(rest[i]) : 0; };
  auto tail = [byte](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  unsigned first = byte(0);
  unsigned second = byte(1);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return tail(1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (first == 0xE0 && second < 0xA0) return 0;  // overlong
    if (first == 0xED && second > 0x9F) return 0;  // surrogates
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (first == 0xF0 && second < 0x90) return 0;  // overlong
    if (first == 0xF4 && second > 0x8F) return 0;  // above U+10FFFF
    return tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

// Each method returns true if the text that it reads was there, and then stands behind it.
class Parser {
 public:
  Parser(const char* data, size_t size) : rest_(data, size) {}

  bool Document(JsonValue* out) {
    if (!Value(kMaxJsonDepth, out)) return false;
    SkipSpace();
    return rest_.empty();
  }

 private:
  using Kind = JsonValue::Kind;

  bool Value(int depth, JsonValue* out) {
    SkipSpace();
    if (depth == 0 || rest_.empty()) return false;
    switch (rest_.front()) {
      case '{':
        return Object(depth, out);
      case '[':
        return Array(depth, out);
      case '"':
        out->kind = Kind::kString;
        return String(&out->text);
      case 't':
        return Word("true", Kind::kTrue, out);
      case 'f':
        return Word("false", Kind::kFalse, out);
      case 'n':
        return Word("null", Kind::kNull, out);
      default:
        return Number(out);
    }
  }

  bool Object(int depth, JsonValue* out) {
    out->kind = Kind::kObject;
    Take('{');
    SkipSpace();
    if (Take('}')) return true;
    // Section 4 leaves a repeated name to the reader. Two readers that choose differently let checks be evaded.
    std::set<std::string> names;
    do {
      JsonMember member;
      SkipSpace();
      if (!String(&member.name) || !names.insert(member.name).second) return false;
      SkipSpace();
      if (!Take(':') || !Value(depth - 1, &member.value)) return false;
      out->members.push_back(std::move(member));
      SkipSpace();
    } while (Take(','));
    return Take('}');
  }

  bool Array(int depth, JsonValue* out) {
    out->kind = Kind::kArray;
    Take('[');
    SkipSpace();
    if (Take(']')) return true;
    do {
      if (!Value(depth - 1, &out->items.emplace_back())) return false;
      SkipSpace();
    } while (Take(','));
    return Take(']');
  }

  bool Word(std::string_view word, Kind kind, JsonValue* out) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    out->kind = kind;
    return true;
  }

  // Section 6: no leading zero, no plus, no bare point.
  bool Number(JsonValue* out) {
    std::string_view start = rest_;
    Take('-');
    if (!Take('0') && !Digits()) return false;
    if (Take('.') && !Digits()) return false;
    if (Take('e') || Take('E')) {
      if (!Take('+')) Take('-');
      if (!Digits()) return false;
    }
    out->kind = Kind::kNumber;
    out->text = start.substr(0, start.size() - rest_.size());
    return true;
  }

  bool Digits() {
    size_t n = 0;
    while (n < rest_.size() && IsDigit(rest_[n])) ++n;
    rest_.remove_prefix(n);
    return n > 0;
  }

  // Section 7.
  bool String(std::string* out) {
    if (!Take('"')) return false;
    while (!rest_.empty()) {
      if (Take('"')) return true;
      if (Take('\\')) {
        if (!Escape(out)) return false;
        continue;
      }
      if (static_cast<unsigned char>(rest_.front()) < 0x20) return false;
      size_t length = Utf8Length(rest_);
      if (length == 0) return false;
      out->append(rest_.substr(0, length));
      rest_.remove_prefix(length);
    }
    return false;
  }

  bool Escape(std::string* out) {
    if (rest_.empty()) return false;
    char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == 'u') return UnicodeEscape(out);
    constexpr std::string_view kEscapes = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    size_t which = kEscapes.find(c);
    if (which == std::string_view::npos) return false;
    out->push_back(kMeanings[which]);
    return true;
  }

  bool UnicodeEscape(std::string* out) {
    uint32_t code;
    if (!Hex4(&code)) return false;
    if (code >= 0xDC00 && code <= 0xDFFF) return false;
    if (code >= 0xD800 && code <= 0xDBFF) {
      uint32_t low;
      if (!Take('\\') || !Take('u') || !Hex4(&low) || low < 0xDC00 || low > 0xDFFF) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    AppendUtf8(code, out);
    return true;
  }

  bool Hex4(uint32_t* out) {
    if (rest_.size() < 4) return false;
    auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 4, *out, 16);
    if (error != std::errc() || end != rest_.data() + 4) return false;
    rest_.remove_prefix(4);
    return true;
  }

  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }

  void SkipSpace() {
    while (Take(' ') || Take('\n') || Take('\r') || Take('\t')) {
    }
  }

  std::string_view rest_;
};

}  // namespace

const JsonValue* JsonValue::Find(std::string_view name) const {
  for (const JsonMember& member : members) {
    if (member.name == name) return &member.value;
  }
  return nullptr;
}

std::optional<std::string> JsonValue::FindString(std::string_view name) const {
  const JsonValue* value = Find(name);
  if (value == nullptr || value->kind != Kind::kString) return std::nullopt;
  return value->text;
}

std::optional<int64_t> JsonValue::FindInteger(std::string_view name) const {
  const JsonValue* value = Find(name);
  if (value == nullptr || value->kind != Kind::kNumber) return std::nullopt;
  int64_t number;
  const char* end = value->text.data() + value->text.size();
  auto [stop, error] = std::from_chars(value->text.data(), end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
}

std::optional<JsonValue> ParseJson(const char* data, size_t size) {
  JsonValue value;
  if (!Parser(data, size).Document(&value)) return std::nullopt;
  return value;
}

std::string QuoteJson(std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (byte < 0x20) {
      out += "\\u00";
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 0xF]);
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

}  // namespace cleat
