// floor-rtnl.cc: see floor-rtnl.h. It uses libmnl.
#include "floor-rtnl.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace floor_bench {

namespace {
constexpr size_t kBufferSize = 32768;
}

Rtnl::Rtnl() : buffer_(kBufferSize) {
  socket_ = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket_ == nullptr || mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) < 0) {
    open_error_ = errno;
    return;
  }
  // Acknowledgements without a copy of the request are less to read back.
  int on = 1;
  mnl_socket_setsockopt(socket_, NETLINK_CAP_ACK, &on, sizeof(on));
}

Rtnl::~Rtnl() {
  if (socket_ != nullptr) mnl_socket_close(socket_);
}

nlmsghdr* Rtnl::Put(uint16_t type, uint16_t flags) {
  nlmsghdr* nlh = mnl_nlmsg_put_header(buffer_.data() + used_);
  nlh->nlmsg_type = type;
  nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
  nlh->nlmsg_seq = ++sequence_;
  return nlh;
}

void Rtnl::Done(nlmsghdr* nlh) {
  used_ += MNL_ALIGN(nlh->nlmsg_len);
  ++pending_;
}

void Rtnl::LinkUp(uint32_t index) {
  nlmsghdr* nlh = Put(RTM_NEWLINK, 0);
  auto* info = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
  info->ifi_index = static_cast<int>(index);
  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  Done(nlh);
}

void Rtnl::BridgeAdd(const std::string& name) {
  nlmsghdr* nlh = Put(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  auto* info = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  mnl_attr_put_strz(nlh, IFLA_IFNAME, name.c_str());
  nlattr* link = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
  mnl_attr_put_str(nlh, IFLA_INFO_KIND, "bridge");
  mnl_attr_nest_end(nlh, link);
  Done(nlh);
}

void Rtnl::LinkDelete(uint32_t index) {
  nlmsghdr* nlh = Put(RTM_DELLINK, 0);
  auto* info = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
  info->ifi_index = static_cast<int>(index);
  Done(nlh);
}

void Rtnl::VethAdd(const std::string& name, uint32_t master, uint32_t group, const std::string& peer_name,
                   int netns_fd) {
  nlmsghdr* nlh = Put(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  auto* info = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg)));
  info->ifi_flags = IFF_UP;
  info->ifi_change = IFF_UP;
  mnl_attr_put_strz(nlh, IFLA_IFNAME, name.c_str());
  mnl_attr_put_u32(nlh, IFLA_MASTER, master);
  mnl_attr_put_u32(nlh, IFLA_GROUP, group);
  // As cleat does (native/rtnetlink/rtnl-encode.cc).
  mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, 1);
  mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, 1);
  nlattr* link = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
  mnl_attr_put_str(nlh, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
  nlattr* peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
  // The peer's attributes follow an ifinfomsg of its own, inside the nest. The peer is not up: the kernel would open it
  // before it knows its other half (ENOTCONN). Bringing it up takes a request of its own, inside.
  mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg));
  mnl_attr_put_strz(nlh, IFLA_IFNAME, peer_name.c_str());
  mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, 1);
  mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, 1);
  mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, static_cast<uint32_t>(netns_fd));
  mnl_attr_nest_end(nlh, peer);
  mnl_attr_nest_end(nlh, data);
  mnl_attr_nest_end(nlh, link);
  Done(nlh);
}

void Rtnl::AliasSet(const std::string& name, const std::string& alias) {
  nlmsghdr* nlh = Put(RTM_NEWLINK, 0);
  mnl_nlmsg_put_extra_header(nlh, sizeof(ifinfomsg));
  mnl_attr_put_strz(nlh, IFLA_IFNAME, name.c_str());
  mnl_attr_put_str(nlh, IFLA_IFALIAS, alias.c_str());
  // As cleat does: a bridge port needs no link-local address. With one, groups are joined and announced, and the work
  // that this queues can hold a link that has to go for seconds.
  nlattr* families = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
  nlattr* inet6 = mnl_attr_nest_start(nlh, AF_INET6);
  mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  mnl_attr_nest_end(nlh, inet6);
  mnl_attr_nest_end(nlh, families);
  Done(nlh);
}

void Rtnl::AddressAdd(uint32_t index, uint32_t address, uint8_t prefix, uint32_t broadcast) {
  nlmsghdr* nlh = Put(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  auto* info = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(ifaddrmsg)));
  info->ifa_family = AF_INET;
  info->ifa_prefixlen = prefix;
  info->ifa_scope = RT_SCOPE_UNIVERSE;
  info->ifa_index = index;
  mnl_attr_put_u32(nlh, IFA_LOCAL, address);
  mnl_attr_put_u32(nlh, IFA_ADDRESS, address);
  mnl_attr_put_u32(nlh, IFA_BROADCAST, broadcast);
  Done(nlh);
}

void Rtnl::DefaultRouteAdd(uint32_t index, uint32_t gateway) {
  nlmsghdr* nlh = Put(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto* route = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(nlh, sizeof(rtmsg)));
  route->rtm_family = AF_INET;
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = RT_SCOPE_UNIVERSE;
  route->rtm_type = RTN_UNICAST;
  mnl_attr_put_u32(nlh, RTA_GATEWAY, gateway);
  mnl_attr_put_u32(nlh, RTA_OIF, index);
  Done(nlh);
}

uint32_t Rtnl::IndexOf(const std::string& name) const {
  ifreq request{};
  strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  return ioctl(mnl_socket_get_fd(socket_), SIOCGIFINDEX, &request) == 0 ? static_cast<uint32_t>(request.ifr_ifindex)
                                                                        : 0;
}

int Rtnl::Flush() {
  const size_t length = used_;
  int waiting = pending_;
  used_ = 0;
  pending_ = 0;
  if (open_error_ != 0) return open_error_;
  if (mnl_socket_sendto(socket_, buffer_.data(), length) < 0) return errno;
  int first_error = 0;
  char answer[8192];
  while (waiting > 0) {
    ssize_t got = mnl_socket_recvfrom(socket_, answer, sizeof(answer));
    if (got < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    int left = static_cast<int>(got);
    for (auto* nlh = reinterpret_cast<nlmsghdr*>(answer); mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
      if (nlh->nlmsg_type != NLMSG_ERROR) continue;
      const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(nlh));
      if (error->error != 0 && first_error == 0) first_error = -error->error;
      --waiting;
    }
  }
  return first_error;
}

}  // namespace floor_bench
