// nlattr.h: reads netlink messages from C++: headers, attributes, answers (libmnl's mnl_attr_for_each does not compile
// as C++: it assigns void*; its getters trust the length).
//
// Guarantees: nothing outside the message or nest is read, whatever the lengths in it say: a part that is too short for
// its type counts as absent.
#pragma once

#include <libmnl/libmnl.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

namespace cleat {

// Calls `fn` for each message of a datagram, in aligned memory, until it returns false. It does not use mnl_nlmsg_ok,
// which takes a length from 2^31 up for a negative number, and lets it pass.
template <typename Fn>
void EachMessage(const void* datagram, size_t size, Fn fn) {
  const char* at = static_cast<const char*>(datagram);
  while (size >= sizeof(nlmsghdr)) {
    const auto* message = reinterpret_cast<const nlmsghdr*>(at);
    const size_t length = message->nlmsg_len;
    if (length < sizeof(nlmsghdr) || length > size || !fn(message)) return;
    const size_t step = std::min<size_t>(NLMSG_ALIGN(length), size);
    at += step;
    size -= step;
  }
}

template <typename Fn>
void EachAttribute(const void* first, size_t size, Fn fn) {
  auto* attribute = static_cast<const nlattr*>(first);
  for (int left = static_cast<int>(size); mnl_attr_ok(attribute, left); attribute = mnl_attr_next(attribute)) {
    left -= static_cast<int>(MNL_ALIGN(attribute->nla_len));
    fn(attribute);
  }
}

// Calls `fn` for the attributes behind a fixed header of `header` bytes.
template <typename Fn>
void EachAttribute(const nlmsghdr* message, size_t header, Fn fn) {
  const size_t payload = mnl_nlmsg_get_payload_len(message);
  const size_t offset = std::min<size_t>(MNL_ALIGN(header), payload);
  EachAttribute(static_cast<const char*>(mnl_nlmsg_get_payload(message)) + offset, payload - offset, fn);
}

template <typename Fn>
void EachAttribute(const nlattr* nest, Fn fn) {
  EachAttribute(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), fn);
}

// Returns the fixed header that a message begins with; nullptr if the message is too short.
template <typename Header>
const Header* HeaderOf(const nlmsghdr* message) {
  if (mnl_nlmsg_get_payload_len(message) < sizeof(Header)) return nullptr;
  return static_cast<const Header*>(mnl_nlmsg_get_payload(message));
}

// Returns a number in the byte order it came in; nothing if the attribute is too short.
template <typename Number>
std::optional<Number> NumberOf(const nlattr* attribute) {
  Number number;
  if (mnl_attr_get_payload_len(attribute) < sizeof number) return std::nullopt;
  memcpy(&number, mnl_attr_get_payload(attribute), sizeof number);
  return number;
}

inline std::string BytesOf(const nlattr* attribute) {
  return std::string(static_cast<const char*>(mnl_attr_get_payload(attribute)), mnl_attr_get_payload_len(attribute));
}

// Returns text, which may end in a NUL byte or not (IFLA_IFALIAS does not count on it).
inline std::string TextOf(const nlattr* attribute) {
  const char* text = static_cast<const char*>(mnl_attr_get_payload(attribute));
  return std::string(text, strnlen(text, mnl_attr_get_payload_len(attribute)));
}

// Returns the errno that an NLMSG_ERROR or NLMSG_DONE reports, 0 for none: both begin with an int that is 0 or a
// negative errno (netlink(7); NLMSG_DONE carries that of a dump that broke off). EBADMSG if it reports none of these.
inline int ErrorOf(const nlmsghdr* answer) {
  constexpr int kMaxErrno = 4095;  // MAX_ERRNO, include/linux/err.h
  const int* error = HeaderOf<int>(answer);
  if (error == nullptr || *error < -kMaxErrno) return EBADMSG;
  return *error < 0 ? -*error : 0;
}

}  // namespace cleat
