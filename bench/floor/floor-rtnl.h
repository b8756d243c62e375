// rtnetlink for the floor program: the requests one container needs, several to a send.
//
// Guarantees: every request demands its acknowledgement and Flush() reads as many as were sent, so a time taken around
// it covers the kernel's whole work. Errors are errno values, 0 for success.
// Limits: IPv4, names shorter than IFNAMSIZ, 32 KB of requests between two flushes; one thread per socket.
#ifndef CLEAT_BENCH_FLOOR_RTNL_H_
#define CLEAT_BENCH_FLOOR_RTNL_H_

#include <libmnl/libmnl.h>

#include <cstdint>
#include <string>
#include <vector>

namespace floor_bench {

class Rtnl {
 public:
  // Opens the socket in the calling thread's network namespace, where it stays.
  Rtnl();
  ~Rtnl();
  Rtnl(const Rtnl&) = delete;
  Rtnl& operator=(const Rtnl&) = delete;

  void LinkUp(uint32_t index);
  void BridgeAdd(const std::string& name);
  void LinkDelete(uint32_t index);
  // Makes a veth on `master`, up and in `group`, and its peer in place, down, in the namespace of `netns_fd`.
  void VethAdd(const std::string& name, uint32_t master, uint32_t group, const std::string& peer_name, int netns_fd);
  // A request of its own, because the kernel ignores IFLA_IFALIAS on creation.
  void AliasSet(const std::string& name, const std::string& alias);
  // `address` is in network byte order.
  void AddressAdd(uint32_t index, uint32_t address, uint8_t prefix, uint32_t broadcast);
  void DefaultRouteAdd(uint32_t index, uint32_t gateway);

  // Returns 0 if there is none. It takes one ioctl: any socket answers for the namespace it was opened in.
  uint32_t IndexOf(const std::string& name) const;

  // Sends everything queued and waits for all the answers. Returns the first error or 0.
  int Flush();

 private:
  nlmsghdr* Put(uint16_t type, uint16_t flags);
  // Ends a request: the next one is written behind the one that `nlh` has grown into.
  void Done(nlmsghdr* nlh);

  mnl_socket* socket_ = nullptr;
  int open_error_ = 0;
  std::vector<char> buffer_;
  size_t used_ = 0;
  uint32_t sequence_ = 0;
  int pending_ = 0;
};

}  // namespace floor_bench

#endif  // CLEAT_BENCH_FLOOR_RTNL_H_
