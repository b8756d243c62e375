// floor-nft.cc: see floor-nft.h. It uses libnftnl.
#include "floor-nft.h"

#include <arpa/inet.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <cerrno>
#include <cstring>

#include "floor-rules.h"

namespace floor_bench {

namespace {

constexpr size_t kBufferSize = 256 * 1024;
// nft(8) shows a concatenation's type from six bits for each part: inet_proto 12, inet_service 13, ipv4_addr 7.
constexpr uint32_t kKeyType = (12 << 6) | 13;
constexpr uint32_t kDataType = (7 << 6) | 13;

struct Hooked {
  const char* name;
  const char* type;
  uint32_t hook;
  int32_t priority;
};

constexpr Hooked kChains[] = {
    {"prerouting", "nat", NF_INET_PRE_ROUTING, -100},
    {"output", "nat", NF_INET_LOCAL_OUT, -100},
    {"postrouting", "nat", NF_INET_POST_ROUTING, 100},
    {"forward", "filter", NF_INET_FORWARD, 0},
};

// Two 4-byte registers: the kernel pads each part of a concatenation to four bytes.
struct Pair {
  uint8_t bytes[8] = {};
};

Pair Key(uint16_t port) {
  Pair key;
  key.bytes[0] = IPPROTO_TCP;
  const uint16_t wire = htons(port);
  memcpy(key.bytes + 4, &wire, sizeof(wire));
  return key;
}

Pair Target(uint32_t address, uint16_t port) {
  Pair target;
  memcpy(target.bytes, &address, sizeof(address));
  const uint16_t wire = htons(port);
  memcpy(target.bytes + 4, &wire, sizeof(wire));
  return target;
}

}  // namespace

Nft::Nft() : buffer_(kBufferSize * 2) {
  socket_ = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
  if (socket_ == nullptr || mnl_socket_bind(socket_, 0, MNL_SOCKET_AUTOPID) < 0) open_error_ = errno;
}

Nft::~Nft() {
  if (socket_ != nullptr) mnl_socket_close(socket_);
}

int Nft::Commit(mnl_nlmsg_batch* batch, int acknowledgements) {
  nftnl_batch_end(static_cast<char*>(mnl_nlmsg_batch_current(batch)), ++sequence_);
  mnl_nlmsg_batch_next(batch);
  if (open_error_ != 0) return open_error_;
  if (mnl_socket_sendto(socket_, mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch)) < 0) return errno;
  char answer[16384];
  int first_error = 0;
  while (acknowledgements > 0) {
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
      --acknowledgements;
    }
  }
  return first_error;
}

int Nft::Setup(const std::string& bridge, uint32_t subnet, uint32_t mask) {
  mnl_nlmsg_batch* batch = mnl_nlmsg_batch_start(buffer_.data(), kBufferSize);
  nftnl_batch_begin(static_cast<char*>(mnl_nlmsg_batch_current(batch)), ++sequence_);
  mnl_nlmsg_batch_next(batch);
  int acknowledgements = 0;
  auto header = [&](uint16_t type) {
    ++acknowledgements;
    return nftnl_nlmsg_build_hdr(static_cast<char*>(mnl_nlmsg_batch_current(batch)), type, NFPROTO_INET,
                                 NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, ++sequence_);
  };

  nftnl_table* table = nftnl_table_alloc();
  nftnl_table_set_str(table, NFTNL_TABLE_NAME, kTable);
  nftnl_table_nlmsg_build_payload(header(NFT_MSG_NEWTABLE), table);
  nftnl_table_free(table);
  mnl_nlmsg_batch_next(batch);

  nftnl_set* set = nftnl_set_alloc();
  nftnl_set_set_str(set, NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(set, NFTNL_SET_NAME, kPortMap);
  nftnl_set_set_u32(set, NFTNL_SET_FAMILY, NFPROTO_INET);
  nftnl_set_set_u32(set, NFTNL_SET_ID, 1);
  nftnl_set_set_u32(set, NFTNL_SET_FLAGS, NFT_SET_MAP);
  nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, kKeyType);
  nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, sizeof(Pair));
  nftnl_set_set_u32(set, NFTNL_SET_DATA_TYPE, kDataType);
  nftnl_set_set_u32(set, NFTNL_SET_DATA_LEN, sizeof(Pair));
  nftnl_set_nlmsg_build_payload(header(NFT_MSG_NEWSET), set);
  nftnl_set_free(set);
  mnl_nlmsg_batch_next(batch);

  for (const Hooked& hooked : kChains) {
    nftnl_chain* chain = nftnl_chain_alloc();
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, kTable);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, hooked.name);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, hooked.type);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hooked.hook);
    nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, hooked.priority);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
    nftnl_chain_nlmsg_build_payload(header(NFT_MSG_NEWCHAIN), chain);
    nftnl_chain_free(chain);
    mnl_nlmsg_batch_next(batch);
  }

  nftnl_rule* rules[] = {PublishRule("prerouting"), PublishRule("output"),
                         MasqueradeRule("postrouting", bridge, subnet, mask), AcceptPublishedRule("forward")};
  for (nftnl_rule* rule : rules) {
    nftnl_rule_nlmsg_build_payload(header(NFT_MSG_NEWRULE), rule);
    nftnl_rule_free(rule);
    mnl_nlmsg_batch_next(batch);
  }

  const int error = Commit(batch, acknowledgements);
  mnl_nlmsg_batch_stop(batch);
  return error;
}

int Nft::Ports(const PortRun& run, const std::string* owner, uint16_t type, uint16_t flags) {
  if (run.count > kMaxPorts) return E2BIG;
  nftnl_udata_buf* comment = nullptr;
  if (owner != nullptr) {
    comment = nftnl_udata_buf_alloc(256);
    nftnl_udata_put_strz(comment, NFTNL_UDATA_SET_ELEM_COMMENT, owner->c_str());
  }
  nftnl_set* set = nftnl_set_alloc();
  nftnl_set_set_str(set, NFTNL_SET_TABLE, kTable);
  nftnl_set_set_str(set, NFTNL_SET_NAME, kPortMap);
  for (uint16_t i = 0; i < run.count; ++i) {
    const auto port = static_cast<uint16_t>(run.first + i * run.step);
    const Pair key = Key(port);
    nftnl_set_elem* element = nftnl_set_elem_alloc();
    nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, &key, sizeof(key));
    if (owner != nullptr) {
      const Pair target = Target(run.address, port);
      nftnl_set_elem_set(element, NFTNL_SET_ELEM_DATA, &target, sizeof(target));
      nftnl_set_elem_set(element, NFTNL_SET_ELEM_USERDATA, nftnl_udata_buf_data(comment), nftnl_udata_buf_len(comment));
    }
    nftnl_set_elem_add(set, element);
  }
  mnl_nlmsg_batch* batch = mnl_nlmsg_batch_start(buffer_.data(), kBufferSize);
  nftnl_batch_begin(static_cast<char*>(mnl_nlmsg_batch_current(batch)), ++sequence_);
  mnl_nlmsg_batch_next(batch);
  nlmsghdr* nlh = nftnl_nlmsg_build_hdr(static_cast<char*>(mnl_nlmsg_batch_current(batch)), type, NFPROTO_INET,
                                        flags | NLM_F_ACK, ++sequence_);
  nftnl_set_elems_nlmsg_build_payload(nlh, set);
  mnl_nlmsg_batch_next(batch);
  nftnl_set_free(set);
  if (comment != nullptr) nftnl_udata_buf_free(comment);
  const int error = Commit(batch, 1);
  mnl_nlmsg_batch_stop(batch);
  return error;
}

int Nft::PortsAdd(const PortRun& run, const std::string& owner) {
  return Ports(run, &owner, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL);
}

int Nft::PortsDelete(const PortRun& run) {
  return Ports(run, nullptr, NFT_MSG_DELSETELEM, 0);
}

}  // namespace floor_bench
