// keep.cc: see keep.h. Messages are those of rtnetlink(7).
#include "keep.h"

#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../fd.h"

namespace cleat_forwarder {

namespace {

using cleat::UniqueFd;

constexpr uint32_t kLoopback = 1;  // LOOPBACK_IFINDEX (include/net/flow.h): lo is the first of every namespace

// One request: a header, the message of its type, attributes.
class Message {
 public:
  template <typename Body>
  Message(uint16_t type, uint16_t flags, const Body& body) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
    std::memcpy(bytes_, &header, sizeof header);
    std::memcpy(bytes_ + NLMSG_HDRLEN, &body, sizeof body);
    size_ = NLMSG_LENGTH(sizeof body);
  }

  void Put(uint16_t type, uint32_t value) {
    size_ = NLMSG_ALIGN(size_);
    rtattr attribute{static_cast<uint16_t>(RTA_LENGTH(sizeof value)), type};
    std::memcpy(bytes_ + size_, &attribute, sizeof attribute);
    std::memcpy(bytes_ + size_ + RTA_LENGTH(0), &value, sizeof value);
    size_ += RTA_LENGTH(sizeof value);
  }

  // Returns 0 or errno.
  int Send(int socket) {
    auto size = static_cast<uint32_t>(size_);
    std::memcpy(bytes_, &size, sizeof size);  // nlmsg_len comes first
    if (send(socket, bytes_, size_, 0) < 0) return errno;
    // NLM_F_ACK: exactly one answer (NETLINK_CAP_ACK or not, the error comes first).
    alignas(nlmsghdr) char answer[1024];
    ssize_t length = recv(socket, answer, sizeof answer, 0);
    if (length < 0) return errno;
    nlmsgerr error;
    if (static_cast<size_t>(length) < NLMSG_LENGTH(sizeof error)) return EBADMSG;
    nlmsghdr header;
    std::memcpy(&header, answer, sizeof header);
    std::memcpy(&error, answer + NLMSG_HDRLEN, sizeof error);
    return header.nlmsg_type == NLMSG_ERROR ? -error.error : EBADMSG;
  }

 private:
  alignas(nlmsghdr) char bytes_[256] = {};
  size_t size_;
};

Message Rule(uint16_t type, uint16_t flags, sa_family_t family) {
  fib_rule_hdr body{};
  body.family = static_cast<uint8_t>(family);
  body.action = FR_ACT_TO_TBL;
  Message message(type, flags, body);
  message.Put(FRA_PRIORITY, kPriority);
  message.Put(FRA_FWMARK, kMark);
  message.Put(FRA_TABLE, kTable);
  return message;
}

Message Route(uint16_t type, uint16_t flags, sa_family_t family) {
  rtmsg body{};
  body.rtm_family = static_cast<uint8_t>(family);
  body.rtm_type = RTN_LOCAL;
  body.rtm_scope = RT_SCOPE_HOST;
  body.rtm_protocol = RTPROT_STATIC;
  Message message(type, flags, body);
  message.Put(RTA_TABLE, kTable);
  message.Put(RTA_OIF, kLoopback);
  return message;
}

UniqueFd OpenNetlink() {
  return UniqueFd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
}

bool SwitchOn(const char* path) {
  UniqueFd file(open(path, O_RDWR | O_CLOEXEC));
  if (!file) return false;
  // Writes nothing if the switch is on already: each write costs the kernel a lock of the whole namespace.
  char now = '0';
  if (read(file.get(), &now, 1) == 1 && now == '1') return true;
  return pwrite(file.get(), "1\n", 2, 0) == 2;
}

}  // namespace

bool Keep(sa_family_t family) {
  const char* reflect = family == AF_INET ? "/proc/sys/net/ipv4/fwmark_reflect" : "/proc/sys/net/ipv6/fwmark_reflect";
  if (!SwitchOn("/proc/sys/net/ipv4/tcp_fwmark_accept") || !SwitchOn(reflect)) return false;
  UniqueFd netlink = OpenNetlink();
  if (!netlink) return false;
  if (Route(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, family).Send(netlink.get()) != 0) return false;
  int error = Rule(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, family).Send(netlink.get());
  return error == 0 || error == EEXIST;
}

void StopKeeping() {
  UniqueFd netlink = OpenNetlink();
  if (!netlink) return;
  for (sa_family_t family : {AF_INET, AF_INET6}) {
    // A rule or route that is gone already is no failure.
    Rule(RTM_DELRULE, 0, family).Send(netlink.get());
    Route(RTM_DELROUTE, 0, family).Send(netlink.get());
  }
}

}  // namespace cleat_forwarder
