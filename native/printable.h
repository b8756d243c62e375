// printable.h: text from elsewhere, made safe for a terminal.
//
// Guarantees: the result is valid UTF-8 on one line and shows all that it is made of. Spaces replace control characters
// (C0, C1, DEL), line separators, bytes that are no UTF-8 (0x9B alone begins a control sequence on a terminal that
// takes 8 bits), and characters that Unicode 16 lists as format or default ignorable (bidirectional controls, zero
// width).
// Limits: letters that look alike are left. cli/terminal.ts does the same for `cleat` (a test compares the two).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cleat {

inline bool IsInvisible(uint32_t c) {
  // Cc, Cf, Cs, Zl, Zp and Default_Ignorable_Code_Point (DerivedCoreProperties.txt).
  static constexpr uint32_t kRanges[][2] = {
      {0x0000, 0x001F},   {0x007F, 0x009F},   {0x00AD, 0x00AD},   {0x034F, 0x034F},   {0x0600, 0x0605},
      {0x061C, 0x061C},   {0x06DD, 0x06DD},   {0x070F, 0x070F},   {0x0890, 0x0891},   {0x08E2, 0x08E2},
      {0x115F, 0x1160},   {0x17B4, 0x17B5},   {0x180B, 0x180F},   {0x200B, 0x200F},   {0x2028, 0x202E},
      {0x2060, 0x206F},   {0x3164, 0x3164},   {0xD800, 0xDFFF},   {0xFE00, 0xFE0F},   {0xFEFF, 0xFEFF},
      {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F},
      {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0xE0000, 0xE0FFF},
  };
  for (const auto& [first, last] : kRanges) {
    if (c >= first && c <= last) return true;
  }
  return false;
}

// Returns the bytes of the character at the start of `text` (RFC 3629, 4), 0 if there is none.
inline size_t TakeUtf8(std::string_view text, uint32_t* out) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) {
    *out = first;
    return 1;
  }
  const size_t size = first >= 0xC2 && first <= 0xDF   ? 2
                      : first >= 0xE0 && first <= 0xEF ? 3
                      : first >= 0xF0 && first <= 0xF4 ? 4
                                                       : 0;
  if (size == 0 || text.size() < size) return 0;
  uint32_t c = first & (0xFFU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
    c = c << 6 | (byte(i) & 0x3F);
  }
  static constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < kLeast[size] || c > 0x10FFFF) return 0;
  *out = c;
  return size;
}

inline std::string Printable(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    uint32_t c = 0;
    const size_t size = TakeUtf8(text, &c);
    if (size == 0 || IsInvisible(c)) {
      line += ' ';
    } else {
      line += text.substr(0, size);
    }
    text.remove_prefix(size == 0 ? 1 : size);
  }
  return line;
}

}  // namespace cleat
