// nlattr.h: walking netlink attributes from C++ (libmnl's mnl_attr_for_each does not compile as C++: it assigns void*).
//
// Guarantees: stays within the message or nest whatever the lengths in it say (mnl_attr_ok).
#pragma once

#include <libmnl/libmnl.h>

#include <cstddef>
#include <cstdint>

namespace cleat {

template <typename Fn>
void EachAttribute(const void* first, size_t size, Fn fn) {
  const char* end = static_cast<const char*>(first) + size;
  auto* attribute = static_cast<const nlattr*>(first);
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    fn(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

// The attributes behind a fixed header of `offset` bytes.
template <typename Fn>
void EachAttribute(const nlmsghdr* message, size_t offset, Fn fn) {
  auto* first = static_cast<const char*>(mnl_nlmsg_get_payload_offset(message, offset));
  EachAttribute(first, static_cast<size_t>(static_cast<char*>(mnl_nlmsg_get_payload_tail(message)) - first), fn);
}

template <typename Fn>
void EachAttribute(const nlattr* nest, Fn fn) {
  EachAttribute(mnl_attr_get_payload(nest), mnl_attr_get_payload_len(nest), fn);
}

}  // namespace cleat
