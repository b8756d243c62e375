// Fuzz target: rtnetlink's dumps and announcements (native/rtnetlink/rtnl-decode.h), and its answers.
//
// Checked besides memory: text has no NUL, an object is of one kind, an errno is valid.
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "../../native/netlink/nlattr.h"
#include "../../native/rtnetlink/rtnl-decode.h"
#include "datagram.h"
#include "must.h"

namespace {

bool IsText(const std::string& text) {
  return text.find('\0') == std::string::npos;
}

void Take(const nlmsghdr* message) {
  cleat::LinkFacts link;
  cleat::LinkFacts port;
  cleat::AddressFacts address;
  cleat::RouteFacts route;
  cleat::NeighbourFacts neighbour;
  const bool is_link = cleat::DecodeLink(message, &link);
  const bool is_port = cleat::DecodePort(message, &port);
  const bool is_address = cleat::DecodeAddress(message, &address);
  const bool is_route = cleat::DecodeRoute(message, &route);
  cleat::WayFacts way;
  MUST(!cleat::DecodeWay(message, &way) || way.link != 0);
  MUST(!way.gateway || way.gateway->size() < 46);
  cleat::RuleFacts rule;
  cleat::DecodeRule(message, &rule);
  MUST(rule.source.size() < 46 && rule.destination.size() < 46);
  MUST(!cleat::RouteIsOf(message, {}));
  cleat::RouteIsOf(message, {RT_TABLE_MAIN});
  const bool is_neighbour = cleat::DecodeNeighbour(message, &neighbour);
  MUST(is_link + is_port + is_address + is_route + is_neighbour <= 1);
  MUST(IsText(link.name) && IsText(link.kind) && IsText(link.alias) && IsText(link.mac));
  MUST(!link.netns_id || *link.netns_id >= 0);
  MUST(address.address.size() < 46 && route.destination.size() < 46 && neighbour.address.size() < 46);
  const int error = cleat::ErrorOf(message);
  MUST(error >= 0 && error < 4096);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  EachMessageOf(data, size, Take);
  AsOneMessage(data, size, Take);
  return 0;
}
