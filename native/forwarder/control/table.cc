// table.cc: see table.h.
#include "table.h"

#include <unistd.h>

#include <cerrno>
#include <set>
#include <vector>

#include "../../json/json.h"

namespace cleat_forwarder {

namespace {

using cleat::QuoteJson;

// The interval at which namespaces with connections are checked.
constexpr int64_t kLookMs = 2000;

std::string Members(const Process& process) {
  return "\"pid\":" + std::to_string(process.pid) + ",\"start_time\":" + std::to_string(process.start_time);
}

// By which descriptor a pipe was opened does not count: that may be an earlier daemon's.
std::string BoundTo(const std::vector<Tie>& ties) {
  std::string json = "[";
  for (const Tie& tie : ties) {
    std::string exit;
    if (tie.pipe) exit = "\"dev\":" + std::to_string(tie.pipe->dev) + ",\"ino\":" + std::to_string(tie.pipe->ino);
    if (tie.processes.size() > (tie.has_own ? 1U : 0U)) exit = Members(tie.processes.back());
    if (!exit.empty()) exit = std::string(tie.has_own ? "," : "") + "\"exit\":{" + exit + "}";
    json += (json.back() == '[' ? "{" : ",{") + (tie.has_own ? Members(tie.processes.front()) : "") + exit + "}";
  }
  return json + "]";
}

}  // namespace

// Everything that a change will do, made before anything is done.
struct Table::Plan {
  // Places of the additions, each opened and compared once.
  std::map<Identity, std::shared_ptr<Place>> places;
  std::set<std::pair<Identity, std::string>> checked;
  std::vector<Route> routes;                 // in the order of add
  std::vector<std::unique_ptr<Port>> fresh;  // opened for keys without a port
  std::set<Key> wanted;                      // ports of the additions
  std::set<Key> leaving;                     // ports that go
  // Bonds of owners that are bound anew; nullptr for an owner that is bound to nothing.
  std::map<std::string, std::unique_ptr<Bond>> bonds;
  size_t held = 0;  // descriptors of those bonds
};

std::string Table::Handle(const Request& request) {
  switch (request.op) {
    case Request::Op::kChange:
      return Change(request);
    case Request::Op::kList:
      return List(request.owner);
    case Request::Op::kLimits:
      budget_->SetLimits(request.limits);
      return "{\"ok\":true}";
    case Request::Op::kWho:
      break;
  }
  return "{\"ok\":true,\"pid\":" + std::to_string(getpid()) + ",\"rules\":" + std::to_string(ports_.size()) + "}";
}

std::string Table::Change(const Request& request) {
  Plan plan;
  for (const Addition& addition : request.add) plan.wanted.insert(addition.key);
  // Ports with the owners that give them up: an addition may take them.
  std::set<std::pair<Key, std::string>> given;
  for (const Removal& removal : request.remove) {
    given.insert({removal.key, removal.owner});
    auto port = ports_.find(removal.key);
    bool its = port != ports_.end() && port->second->route().owner() == removal.owner;
    if (its && plan.wanted.count(removal.key) == 0) plan.leaving.insert(removal.key);
  }

  for (const Addition& addition : request.add) {
    auto held = ports_.find(addition.key);
    if (held == ports_.end()) continue;
    const std::string& owner = held->second->route().owner();
    if (owner == addition.owner || given.count({addition.key, owner}) > 0) continue;
    return Refuse({"the port is published already", EADDRINUSE, "bind", owner, &addition.key});
  }
  for (const Addition& addition : request.add) {
    std::shared_ptr<Place> place;
    if (Failure failure = PlaceOf(addition, &plan, &place)) {
      return Refuse(
          {"no such network namespace: " + addition.netns, failure.error, failure.syscall, "", &addition.key});
    }
    auto share = std::make_shared<Share>(budget_->AccountOf(addition.owner));
    plan.routes.push_back({std::move(share), std::move(place), addition.to});
  }
  for (const Binding& binding : request.bound) {
    if (Failure failure = BondOf(binding, &plan)) {
      const char* what =
          failure.error == ESRCH ? "what it is bound to has ended" : "what it is bound to cannot be watched";
      return Refuse({what, failure.error, failure.syscall, binding.owner});
    }
  }
  const size_t held = Descriptors() + plan.held;
  for (size_t i = 0; i < request.add.size(); ++i) {
    const Key& key = request.add[i].key;
    if (ports_.count(key) > 0) continue;
    if (!budget_->HasRoomForPorts(held + plan.fresh.size() + 1)) {
      return Refuse({"the forwarder has as many ports as it may", EMFILE, "socket", "", &key});
    }
    std::vector<Port*> giving_way;
    for (const Key& leaving : plan.leaving) {
      if (Collide(leaving, key)) giving_way.push_back(ports_.find(leaving)->second.get());
    }
    std::unique_ptr<Port> port = Port::Make(engine_, lanes_, key, plan.routes[i]);
    if (Failure failure = port->Open(giving_way)) {
      return Refuse({"the port cannot be opened", failure.error, failure.syscall, "", &key});
    }
    plan.fresh.push_back(std::move(port));
  }
  for (const auto& [identity, place] : plan.places) place->KeepSources();

  Commit(request, &plan);
  std::string kept;
  for (const Addition& addition : request.add) {
    kept += kept.empty() ? "" : ",";
    kept += ports_.find(addition.key)->second->keeps_source() ? "true" : "false";
  }
  return "{\"ok\":true,\"source_kept\":[" + kept + "]}";
}

Failure Table::PlaceOf(const Addition& addition, Plan* plan, std::shared_ptr<Place>* out) {
  const Identity identity{addition.dev, addition.ino};
  std::shared_ptr<Place>& place = plan->places[identity];
  if (place == nullptr) {
    auto known = places_.find(identity);
    if (known != places_.end()) place = known->second;
  }
  // Checks the path that is given now, because the path known before may be gone.
  if (plan->checked.count({identity, addition.netns}) == 0) {
    if (Failure failure = Place(addition.netns, addition.dev, addition.ino).Check()) return failure;
    plan->checked.insert({identity, addition.netns});
  }
  if (place == nullptr) place = std::make_shared<Place>(addition.netns, addition.dev, addition.ino);
  *out = place;
  return {};
}

Failure Table::BondOf(const Binding& binding, Plan* plan) {
  std::unique_ptr<Bond>& bond = plan->bonds[binding.owner];
  if (binding.to.empty()) return {};
  plan->held += Bond::Descriptors(binding.to);
  if (!budget_->HasRoomForPorts(Descriptors() + plan->held)) return {EMFILE, "pidfd_open"};
  bond = std::make_unique<Bond>(binding.to, [this, owner = binding.owner] { EndOwner(owner); });
  return bond->Hold(engine_);
}

void Table::Commit(const Request& request, Plan* plan) {
  for (const auto& [identity, place] : plan->places) places_[identity] = place;
  for (const Addition& addition : request.add) plan->places[{addition.dev, addition.ino}]->Rename(addition.netns);
  for (std::unique_ptr<Port>& port : plan->fresh) {
    const Key key = port->key();
    ports_[key] = std::move(port);
  }
  for (size_t i = 0; i < request.add.size(); ++i) {
    const Route& to = plan->routes[i];
    Port& port = *ports_.find(request.add[i].key)->second;
    const Route& now = port.route();
    bool same = now.owner() == to.owner() && now.place == to.place && now.to == to.to;
    if (now.owner() != to.owner()) owners_[now.owner()].former.insert(port.key());
    if (!same) port.Lead(to);
  }
  for (auto& [owner, bond] : plan->bonds) Bind(owner, std::move(bond));
  for (const Removal& removal : request.remove) {
    auto port = ports_.find(removal.key);
    if (port == ports_.end()) continue;
    if (plan->leaving.count(removal.key) > 0) {
      Close(port);
    } else if (port->second->route().owner() != removal.owner && plan->wanted.count(removal.key) == 0) {
      // The port was given to another owner earlier; what came through it for this owner ends here.
      port->second->EndThose([&removal](const Route& route) { return route.owner() == removal.owner; });
    }
  }
  plan->places.clear();
  plan->routes.clear();
  Forget();
}

void Table::Bind(const std::string& owner, std::unique_ptr<Bond> bond) {
  std::unique_ptr<Bond> former = std::exchange(owners_[owner].bond, std::move(bond));
  if (former != nullptr) engine_->Bury(std::move(former));
}

void Table::EndOwner(const std::string& owner) {
  for (auto port = ports_.begin(); port != ports_.end();) {
    auto next = std::next(port);
    if (port->second->route().owner() == owner) Close(port);
    port = next;
  }
  for (const Key& key : owners_[owner].former) {
    auto port = ports_.find(key);
    if (port == ports_.end()) continue;
    port->second->EndThose([&owner](const Route& route) { return route.owner() == owner; });
  }
  Bind(owner, nullptr);
  Forget();
}

size_t Table::Descriptors() const {
  size_t count = ports_.size();
  for (const auto& [name, owner] : owners_) count += owner.bond == nullptr ? 0 : Bond::Descriptors(owner.bond->to());
  return count;
}

void Table::Forget() {
  for (auto place = places_.begin(); place != places_.end();) {
    place = place->second.use_count() == 1 ? places_.erase(place) : std::next(place);
  }
  budget_->ForgetAccounts();
  for (auto owner = owners_.begin(); owner != owners_.end();) {
    auto next = std::next(owner);
    if (budget_->accounts().count(owner->first) == 0) {
      if (owner->second.bond != nullptr) engine_->Bury(std::move(owner->second.bond));
      owners_.erase(owner);
    }
    owner = next;
  }
  budget_->CountPorts(Descriptors());
}

void Table::Close(Ports::iterator port) {
  port->second->End();
  engine_->Bury(std::move(port->second));
  ports_.erase(port);
}

void Table::End() {
  while (!ports_.empty()) Close(ports_.begin());
  Forget();
}

std::string Table::List(const std::string& owner) const {
  std::string json = "{\"ok\":true,\"pid\":" + std::to_string(getpid()) + ",\"rules\":[";
  for (const auto& [key, port] : ports_) {
    const Route& route = port->route();
    if (!owner.empty() && route.owner() != owner) continue;
    if (json.back() != '[') json += ',';
    json += "{\"owner\":" + QuoteJson(route.owner()) + "," + KeyMembers(key);
    json += ",\"netns\":" + QuoteJson(route.place->path());
    json += ",\"dev\":" + std::to_string(route.place->dev()) + ",\"ino\":" + std::to_string(route.place->ino());
    json += ",\"address\":\"" + route.to.Address() + "\",\"container_port\":" + std::to_string(route.to.port());
    json += std::string(",\"source_kept\":") + (port->keeps_source() ? "true" : "false");
    json += ",\"connections\":" + std::to_string(port->connections());
    json += std::string(",\"full\":") + (port->full() ? "true" : "false");
    json += ",\"bytes_in\":" + std::to_string(port->bytes_in()) + ",\"bytes_out\":" + std::to_string(port->bytes_out());
    json += '}';
  }
  json += "],\"owners\":[";
  for (const auto& [name, account] : budget_->accounts()) {
    if (!owner.empty() && name != owner) continue;
    if (json.back() != '[') json += ',';
    json += "{\"owner\":" + QuoteJson(name);
    json += ",\"connections\":" + std::to_string(account->count(Protocol::kTcp));
    json += ",\"flows\":" + std::to_string(account->count(Protocol::kUdp));
    auto known = owners_.find(name);
    bool bound = known != owners_.end() && known->second.bond != nullptr;
    json += ",\"bound_to\":" + BoundTo(bound ? known->second.bond->to() : std::vector<Tie>()) + "}";
  }
  const Limits limits = budget_->limits();
  json += "],\"limits\":{\"connections\":" + std::to_string(limits.connections);
  json += ",\"flows\":" + std::to_string(limits.flows);
  json += ",\"flow_idle\":" + std::to_string(limits.flow_idle);
  json += ",\"half_closed\":" + std::to_string(limits.half_closed) + "}";
  return json + "}";
}

void Table::Tick() {
  for (auto& [key, port] : ports_) port->Tick();
  Forget();
  if (engine_->now() - looked_at_ < kLookMs) return;
  looked_at_ = engine_->now();
  // A connection would keep its namespace, and everything in it, from ending.
  std::set<const Place*> gone;
  for (const auto& [identity, place] : places_) {
    // Without a descriptor for the check, the result is unknown.
    if (Failure failure = place->Check(); failure && !IsShortage(failure.error)) gone.insert(place.get());
  }
  if (gone.empty()) return;
  for (auto& [key, port] : ports_) {
    port->EndThose([&gone](const Route& route) { return gone.count(route.place.get()) > 0; });
  }
}

}  // namespace cleat_forwarder
