// rtnl-value.cc: see rtnl-value.h.
#include "rtnl-value.h"

#include <linux/fib_rules.h>
#include <sys/socket.h>

#include "rtnl-request.h"

namespace cleat {

static Napi::Value Count(Napi::Env env, uint64_t count) {
  return Napi::Number::New(env, static_cast<double>(count));
}

static Napi::Value ToValue(Napi::Env env, const VxlanFacts& vxlan) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("vni", vxlan.vni);
  object.Set("local", vxlan.local);
  object.Set("port", static_cast<uint32_t>(vxlan.port));
  object.Set("learning", Napi::Boolean::New(env, vxlan.learning));
  return object;
}

Napi::Value ToValue(Napi::Env env, const LinkFacts& link) {
  Napi::Object statistics = Napi::Object::New(env);
  statistics.Set("rxBytes", Count(env, link.statistics.rx_bytes));
  statistics.Set("rxPackets", Count(env, link.statistics.rx_packets));
  statistics.Set("rxErrors", Count(env, link.statistics.rx_errors));
  statistics.Set("rxDropped", Count(env, link.statistics.rx_dropped));
  statistics.Set("txBytes", Count(env, link.statistics.tx_bytes));
  statistics.Set("txPackets", Count(env, link.statistics.tx_packets));
  statistics.Set("txErrors", Count(env, link.statistics.tx_errors));
  statistics.Set("txDropped", Count(env, link.statistics.tx_dropped));
  Napi::Object object = Napi::Object::New(env);
  object.Set("index", link.index);
  object.Set("name", link.name);
  object.Set("kind", link.kind);
  object.Set("mac", link.mac);
  object.Set("mtu", link.mtu);
  object.Set("up", Napi::Boolean::New(env, link.up));
  object.Set("lowerUp", Napi::Boolean::New(env, link.lower_up));
  object.Set("operational", Napi::Boolean::New(env, link.operational));
  object.Set("master", link.master);
  object.Set("link", link.link);
  object.Set("netnsId", link.netns_id ? Napi::Value(Napi::Number::New(env, *link.netns_id)) : env.Null());
  object.Set("group", link.group);
  object.Set("alias", link.alias);
  object.Set("vxlan", link.vxlan ? ToValue(env, *link.vxlan) : env.Null());
  object.Set("statistics", statistics);
  return object;
}

Napi::Value ToValue(Napi::Env env, const AddressFacts& address) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("link", address.link);
  object.Set("address", address.address);
  object.Set("prefix", static_cast<uint32_t>(address.prefix));
  object.Set("scope", static_cast<uint32_t>(address.scope));
  object.Set("tentative", Napi::Boolean::New(env, address.tentative));
  return object;
}

Napi::Value ToValue(Napi::Env env, const RouteFacts& route) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("destination", route.destination);
  object.Set("prefix", static_cast<uint32_t>(route.prefix));
  object.Set("gateway", route.gateway ? Napi::Value(Napi::String::New(env, *route.gateway)) : env.Null());
  object.Set("link", route.link);
  object.Set("metric", route.metric);
  object.Set("table", route.table);
  object.Set("type", RouteTypeName(route.type));
  object.Set("protocol", static_cast<uint32_t>(route.protocol));
  return object;
}

static std::string RuleActionName(uint8_t action) {
  switch (action) {
    case FR_ACT_TO_TBL:
      return "table";
    case FR_ACT_BLACKHOLE:
      return "blackhole";
    case FR_ACT_UNREACHABLE:
      return "unreachable";
    case FR_ACT_PROHIBIT:
      return "prohibit";
  }
  return std::to_string(action);
}

Napi::Value ToValue(Napi::Env env, const RuleFacts& rule) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("family", rule.family == AF_INET ? 4 : 6);
  object.Set("priority", rule.priority);
  object.Set("action", RuleActionName(rule.action));
  object.Set("table", rule.table);
  object.Set("source", rule.source);
  object.Set("sourcePrefix", static_cast<uint32_t>(rule.source_prefix));
  object.Set("destination", rule.destination);
  object.Set("prefix", static_cast<uint32_t>(rule.prefix));
  object.Set("inverted", Napi::Boolean::New(env, rule.inverted));
  object.Set("suppressPrefix",
             rule.suppress_prefix ? Napi::Value(Napi::Number::New(env, *rule.suppress_prefix)) : env.Null());
  return object;
}

Napi::Value ToValue(Napi::Env env, const NeighbourFacts& neighbour) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("link", neighbour.link);
  object.Set("address", neighbour.address);
  object.Set("mac", neighbour.mac);
  object.Set("state", static_cast<uint32_t>(neighbour.state));
  object.Set("protocol", static_cast<uint32_t>(neighbour.protocol));
  return object;
}

Napi::Value ToValue(Napi::Env env, const FdbFacts& entry) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("mac", entry.mac);
  object.Set("destination", entry.destination);
  return object;
}

}  // namespace cleat
