// The kernel floor: the work that the kernel does for a container of cleat, with nothing above it.
//
//   floor NETNS_DIR STATE_DIR    long-lived; one command to a line on stdin, one line of answer to each on stdout:
//
//   lo                            bring lo up where the program was started
//   setup                         bridge with an address, forwarding, nft table with its map, chains and rules
//   bridge B / unbridge B         one more bridge with an address; the one of setup is 0
//   create I PORTS FIRST STEP [B] netns, veth, address, route and PORTS elements from host port FIRST in steps of STEP;
//                                 on bridge B
//   burst I N [BRIDGES]           creates I .. I+N-1 back to back, no ports; shared out over bridges 0 .. BRIDGES-1
//   teardown I [N]                removes I .. I+N-1: elements, unmount, unlink
//   gone                          wait until the host-side links of all torn down have vanished
//   fill FIRST STEP N             publish N ports without an owner; `drain FIRST STEP N` removes them
//   netns NAME / unnetns NAME     a bare namespace at NETNS_DIR/NAME for the peers, which need one that exists
//
// Answers are `ok NANOSECONDS [part=NANOSECONDS ...]` or `error STEP REASON`. Guarantees: times are CLOCK_MONOTONIC and
// measured in this program, so no pipe or scheduler of the harness is in them; `intent` (one small file replaced by
// rename, the cost of a durable intent) is reported beside the total, not in it; `gone` counts from the start of the
// first teardown it waits for. Limits: IPv4; a bridge has 1,023 ports at most; all containers have addresses of the
// first bridge's subnet, and other bridges have no rules, so nothing passes there. The caller provides a private
// namespace; everything that is left at end of input goes with that namespace.
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "floor-netns.h"
#include "floor-nft.h"
#include "floor-rtnl.h"

namespace floor_bench {

namespace {

constexpr uint32_t kSubnet = 0x0A4C0000;  // 10.76.0.0/16, the bridge at .0.1 and container I at .0.2 + I
constexpr uint8_t kPrefix = 16;
constexpr uint32_t kMask = 0xFFFF0000;
constexpr uint32_t kOtherSubnets = 0x0AC00000;  // 10.192.0.0/10, of which bridge B has the B-th /24
constexpr uint8_t kOtherPrefix = 24;
constexpr uint32_t kOtherMask = 0xFFFFFF00;
constexpr uint32_t kGroup = 7676;
constexpr int64_t kGoneTimeout = 20'000'000'000;

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

struct Failure {
  const char* step = "";
  int error = 0;
};

struct Times {
  int64_t netns = 0;
  int64_t link = 0;
  int64_t address = 0;
  int64_t nft = 0;
  int64_t total = 0;
  int64_t intent = 0;
};

class Floor {
 public:
  Floor(std::string netns_directory, std::string state_directory)
      : netns_directory_(std::move(netns_directory)),
        state_directory_(std::move(state_directory)),
        home_(NetnsCurrent()) {}

  Failure Loopback() {
    rtnl_.LinkUp(1);
    return {"lo", rtnl_.Flush()};
  }

  Failure Setup() {
    const std::string name = BridgeName(0);
    rtnl_.BridgeAdd(name);
    if (int error = rtnl_.Flush()) return {"bridge", error};
    bridges_[0] = rtnl_.IndexOf(name);
    rtnl_.AddressAdd(bridges_[0], htonl(kSubnet + 1), kPrefix, htonl(kSubnet | ~kMask));
    if (int error = rtnl_.Flush()) return {"bridge address", error};
    if (int error = FileWrite("/proc/sys/net/ipv4/ip_forward", "1")) return {"ip_forward", error};
    return {"nft", nft_.Setup(name, htonl(kSubnet), htonl(kMask))};
  }

  Failure Bridge(uint32_t number) {
    const std::string name = BridgeName(number);
    rtnl_.BridgeAdd(name);
    if (int error = rtnl_.Flush()) return {"bridge", error};
    const uint32_t subnet = kOtherSubnets + (number << (32 - kOtherPrefix));
    bridges_[number] = rtnl_.IndexOf(name);
    rtnl_.AddressAdd(bridges_[number], htonl(subnet + 1), kOtherPrefix, htonl(subnet | ~kOtherMask));
    return {"bridge address", rtnl_.Flush()};
  }

  Failure Unbridge(uint32_t number) {
    const auto bridge = bridges_.find(number);
    if (bridge == bridges_.end()) return {"unbridge", ENODEV};
    rtnl_.LinkDelete(bridge->second);
    bridges_.erase(bridge);
    return {"unbridge", rtnl_.Flush()};
  }

  Failure Create(uint32_t id, uint32_t bridge, PortRun ports, Times* times) {
    const auto master = bridges_.find(bridge);
    if (master == bridges_.end()) return {"bridge", ENODEV};
    const int64_t start = Now();
    const std::string path = NetnsPath(Name(id));
    if (int error = NetnsEnterNew(path)) return Home({"netns", error});
    // Opened inside and used from outside, so that the namespace is entered only once.
    Rtnl inside;
    inside.LinkUp(1);
    if (int error = inside.Flush()) return Home({"lo", error});
    const int netns = NetnsCurrent();
    if (int error = NetnsLeave(home_)) return {"setns", error};
    const int64_t made = Now();

    rtnl_.VethAdd(Name(id), master->second, kGroup, "eth0", netns);
    rtnl_.AliasSet(Name(id), "cleat floor " + std::to_string(id));
    const int link_error = rtnl_.Flush();
    close(netns);
    if (link_error != 0) return {"veth", link_error};
    const int64_t linked = Now();

    ports.address = htonl(kSubnet + 2 + id);
    const uint32_t eth0 = inside.IndexOf("eth0");
    inside.LinkUp(eth0);
    inside.AddressAdd(eth0, ports.address, kPrefix, htonl(kSubnet | ~kMask));
    inside.DefaultRouteAdd(eth0, htonl(kSubnet + 1));
    if (int error = inside.Flush()) return {"address", error};
    const int64_t addressed = Now();

    if (ports.count > 0) {
      if (int error = nft_.PortsAdd(ports, Name(id))) return {"nft", error};
      ports_[id] = ports;
    }
    const int64_t end = Now();
    if (int error = FileReplace(state_directory_ + "/" + Name(id), std::string(1500, 'x'))) return {"intent", error};
    times->netns += made - start;
    times->link += linked - made;
    times->address += addressed - linked;
    times->nft += end - addressed;
    times->total += end - start;
    times->intent += Now() - end;
    return {};
  }

  Failure Teardown(uint32_t id) {
    if (going_.empty()) first_teardown_ = Now();
    auto ports = ports_.find(id);
    if (ports != ports_.end()) {
      if (int error = nft_.PortsDelete(ports->second)) return {"nft", error};
      ports_.erase(ports);
    }
    if (int error = NetnsRemove(NetnsPath(Name(id)))) return {"netns", error};
    going_.insert(id);
    return {};
  }

  // Sets `took` to the time of the whole way down. Fails once the limit has passed.
  Failure Gone(int64_t* took) {
    if (going_.empty()) first_teardown_ = Now();
    for (;;) {
      for (auto id = going_.begin(); id != going_.end() && rtnl_.IndexOf(Name(*id)) == 0;) id = going_.erase(id);
      *took = Now() - first_teardown_;
      if (going_.empty()) return {};
      if (*took > kGoneTimeout) return {"gone", ETIMEDOUT};
      const timespec nap{0, 500'000};
      nanosleep(&nap, nullptr);
    }
  }

  Failure Fill(uint32_t first, uint32_t step, uint32_t count, bool add) {
    while (count > 0) {
      const uint32_t part = std::min<uint32_t>(count, Nft::kMaxPorts);
      const PortRun run{htonl(kSubnet + 0xFFFE), static_cast<uint16_t>(first), static_cast<uint16_t>(part),
                        static_cast<uint16_t>(step)};
      if (int error = add ? nft_.PortsAdd(run, "fill") : nft_.PortsDelete(run)) return {"fill", error};
      first += part * step;
      count -= part;
    }
    return {};
  }

  Failure Bare(const std::string& name, bool add) {
    if (!add) return {"unnetns", NetnsRemove(NetnsPath(name))};
    if (int error = NetnsEnterNew(NetnsPath(name))) return Home({"netns", error});
    return {"setns", NetnsLeave(home_)};
  }

 private:
  static std::string Name(uint32_t id) { return "fl" + std::to_string(id); }
  static std::string BridgeName(uint32_t number) { return "floor" + std::to_string(number); }
  std::string NetnsPath(const std::string& name) const { return netns_directory_ + "/" + name; }

  // A failure inside a half-made namespace must not leave the program there.
  Failure Home(Failure failure) const {
    const int error = NetnsLeave(home_);
    return error != 0 ? Failure{"setns", error} : failure;
  }

  std::string netns_directory_;
  std::string state_directory_;
  int home_;
  Rtnl rtnl_;
  Nft nft_;
  std::map<uint32_t, uint32_t> bridges_;  // number to index
  std::map<uint32_t, PortRun> ports_;
  std::set<uint32_t> going_;
  int64_t first_teardown_ = 0;
};

std::string Parts(const Times& times) {
  std::ostringstream out;
  out << " netns=" << times.netns << " link=" << times.link << " address=" << times.address << " nft=" << times.nft
      << " intent=" << times.intent;
  return out.str();
}

std::string Answer(Floor* floor, const std::string& line) {
  std::istringstream in(line);
  std::string command;
  in >> command;
  Failure failure;
  std::string parts;
  const int64_t start = Now();
  int64_t took = -1;
  if (command == "lo") {
    failure = floor->Loopback();
  } else if (command == "setup") {
    failure = floor->Setup();
  } else if (command == "create" || command == "burst") {
    uint32_t id = 0;
    uint32_t count = 1;
    PortRun ports{0, 0, 0, 1};
    in >> id;
    if (command == "burst") {
      in >> count;
    } else {
      in >> ports.count >> ports.first >> ports.step;
    }
    // The bridge of one container, or how many bridges there are for many.
    uint32_t bridge = 0;
    in >> bridge;
    Times times;
    for (uint32_t i = 0; i < count && failure.error == 0; ++i) {
      failure = floor->Create(id + i, command == "burst" ? i % std::max<uint32_t>(bridge, 1) : bridge, ports, &times);
    }
    took = times.total;
    parts = Parts(times);
  } else if (command == "teardown") {
    uint32_t id = 0;
    uint32_t count = 1;
    in >> id;
    if (!(in >> count)) count = 1;
    for (uint32_t i = 0; i < count && failure.error == 0; ++i) failure = floor->Teardown(id + i);
  } else if (command == "gone") {
    failure = floor->Gone(&took);
  } else if (command == "bridge" || command == "unbridge") {
    uint32_t number = 0;
    in >> number;
    failure = command == "bridge" ? floor->Bridge(number) : floor->Unbridge(number);
  } else if (command == "fill" || command == "drain") {
    uint32_t first = 0;
    uint32_t step = 1;
    uint32_t count = 0;
    in >> first >> step >> count;
    failure = floor->Fill(first, step, count, command == "fill");
  } else if (command == "netns" || command == "unnetns") {
    std::string name;
    in >> name;
    failure = floor->Bare(name, command == "netns");
  } else {
    failure = {"command", EINVAL};
  }
  if (took < 0) took = Now() - start;
  if (failure.error != 0) return "error " + std::string(failure.step) + ": " + strerror(failure.error);
  return "ok " + std::to_string(took) + parts;
}

}  // namespace

}  // namespace floor_bench

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: floor NETNS_DIR STATE_DIR\n";
    return 2;
  }
  floor_bench::Floor floor(argv[1], argv[2]);
  std::string line;
  while (std::getline(std::cin, line)) std::cout << floor_bench::Answer(&floor, line) << std::endl;
  return 0;
}
