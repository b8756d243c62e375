// datagram.h: passes an input to a netlink target in the form that the product gets from recvmsg.
//
// Guarantees: the bytes are aligned for a nlmsghdr, as receive buffers are, and end where their memory ends, so that
// ASan sees the first byte read beyond them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include "../../native/netlink/nlattr.h"

template <typename Fn>
void EachMessageOf(const uint8_t* data, size_t size, Fn fn) {
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
  if (size != 0) memcpy(copy.get(), data, size);
  cleat::EachMessage(copy.get(), size, [&](const nlmsghdr* message) {
    fn(message);
    return true;
  });
}

// Passes all of the input as one message whose length is right, so that its contents are reached without guessing the
// length.
template <typename Fn>
void AsOneMessage(const uint8_t* data, size_t size, Fn fn) {
  if (size < sizeof(nlmsghdr)) return;
  const std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
  memcpy(copy.get(), data, size);
  auto* message = reinterpret_cast<nlmsghdr*>(copy.get());
  message->nlmsg_len = static_cast<uint32_t>(size);
  fn(message);
}
