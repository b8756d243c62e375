// nf_tables for the floor program: a table shaped like cleat's, and port elements in one transaction each.
//
// Guarantees: a published port is one element of an exact map (l4proto . dport -> address . port) carrying its owner as
// a comment; adding or removing any number of them is one transaction, acknowledged before the call returns.
// Limits: IPv4, TCP; at most kMaxPorts elements to a transaction; one thread.
#ifndef CLEAT_BENCH_FLOOR_NFT_H_
#define CLEAT_BENCH_FLOOR_NFT_H_

#include <libmnl/libmnl.h>

#include <cstdint>
#include <string>
#include <vector>

namespace floor_bench {

// Host ports first, first + step, ... (count of them), each to the same port of `address` (network byte order).
struct PortRun {
  uint32_t address;
  uint16_t first;
  uint16_t count;
  uint16_t step;
};

class Nft {
 public:
  static constexpr uint16_t kMaxPorts = 400;

  Nft();
  ~Nft();
  Nft(const Nft&) = delete;
  Nft& operator=(const Nft&) = delete;

  // Makes the table with its map and its NAT and filter chains. `subnet` and `mask` are in network byte order.
  int Setup(const std::string& bridge, uint32_t subnet, uint32_t mask);
  int PortsAdd(const PortRun& run, const std::string& owner);
  int PortsDelete(const PortRun& run);

 private:
  int Ports(const PortRun& run, const std::string* owner, uint16_t type, uint16_t flags);
  int Commit(mnl_nlmsg_batch* batch, int acknowledgements);

  mnl_socket* socket_ = nullptr;
  int open_error_ = 0;
  std::vector<char> buffer_;
  uint32_t sequence_ = 0;
};

}  // namespace floor_bench

#endif  // CLEAT_BENCH_FLOOR_NFT_H_
