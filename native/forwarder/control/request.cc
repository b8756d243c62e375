// request.cc: see request.h.
#include "request.h"

#include <climits>
#include <optional>
#include <set>

#include "../../json/json.h"
#include "../../node/failure.h"

namespace cleat_forwarder {

namespace {

using cleat::JsonValue;
using cleat::QuoteJson;
using Kind = JsonValue::Kind;

// id:generation (state/names.ts: an id has 100 characters at most).
constexpr size_t kMaxOwner = 255;

std::optional<uint16_t> PortOf(const JsonValue& value, std::string_view name) {
  std::optional<int64_t> number = value.FindInteger(name);
  if (!number || *number < 1 || *number > 65535) return std::nullopt;
  return static_cast<uint16_t>(*number);
}

std::optional<uint64_t> NumberOf(const JsonValue& value, std::string_view name) {
  std::optional<int64_t> number = value.FindInteger(name);
  if (!number || *number < 0) return std::nullopt;
  return static_cast<uint64_t>(*number);
}

bool ReadOwner(const JsonValue& value, std::string* owner) {
  std::optional<std::string> name = value.FindString("owner");
  if (!name || name->empty() || name->size() > kMaxOwner) return false;
  *owner = std::move(*name);
  return true;
}

// Returns the name of a member that is wrong; nullptr if all are right.
const char* ReadKey(const JsonValue& value, std::string* owner, Key* key) {
  if (!ReadOwner(value, owner)) return "owner";
  std::optional<std::string> protocol = value.FindString("protocol");
  if (protocol == "tcp") {
    key->protocol = Protocol::kTcp;
  } else if (protocol == "udp") {
    key->protocol = Protocol::kUdp;
  } else {
    return "protocol";
  }
  std::optional<uint16_t> port = PortOf(value, "host_port");
  if (!port) return "host_port";
  std::optional<std::string> address = value.FindString("host_ip");
  std::optional<Endpoint> at = address ? Endpoint::Parse(*address, *port) : std::nullopt;
  if (!at || at->IsMulticast()) return "host_ip";
  key->at = *at;
  return nullptr;
}

const char* ReadTarget(const JsonValue& value, Addition* addition) {
  std::optional<std::string> netns = value.FindString("netns");
  bool path = netns && !netns->empty() && netns->size() < PATH_MAX && netns->front() == '/' &&
              netns->find('\0') == std::string::npos;
  if (!path) return "netns";
  addition->netns = std::move(*netns);
  std::optional<uint64_t> dev = NumberOf(value, "dev");
  if (!dev) return "dev";
  addition->dev = *dev;
  std::optional<uint64_t> ino = NumberOf(value, "ino");
  if (!ino) return "ino";
  addition->ino = *ino;
  std::optional<uint16_t> port = PortOf(value, "container_port");
  if (!port) return "container_port";
  std::optional<std::string> address = value.FindString("address");
  std::optional<Endpoint> to = address ? Endpoint::Parse(*address, *port) : std::nullopt;
  // Services on a container's loopback must not be reachable from outside (podman#24045).
  if (!to || to->IsAny() || to->IsLoopback() || to->IsMulticast() || to->IsLinkLocal()) return "address";
  addition->to = *to;
  return nullptr;
}

std::optional<Process> ProcessOf(const JsonValue& value) {
  std::optional<int64_t> pid = value.FindInteger("pid");
  std::optional<int64_t> start_time = value.FindInteger("start_time");
  if (!pid || *pid < 1 || *pid > INT32_MAX || !start_time || *start_time < 0) return std::nullopt;
  return Process{static_cast<pid_t>(*pid), *start_time};
}

std::optional<PipeEnd> PipeOf(const JsonValue& value) {
  std::optional<Process> holder = ProcessOf(value);
  std::optional<uint64_t> fd = NumberOf(value, "fd");
  std::optional<uint64_t> dev = NumberOf(value, "dev");
  std::optional<uint64_t> ino = NumberOf(value, "ino");
  if (!holder || !fd || *fd > INT32_MAX || !dev || !ino || value.members.size() != 5) return std::nullopt;
  return PipeEnd{*holder, static_cast<int>(*fd), *dev, *ino};
}

bool ReadExit(const JsonValue& value, Tie* tie) {
  std::optional<Process> process = ProcessOf(value);
  if (process && value.members.size() == 2) {
    tie->processes.push_back(*process);
    return true;
  }
  tie->pipe = PipeOf(value);
  return tie->pipe.has_value();
}

std::optional<Tie> TieOf(const JsonValue& value) {
  Tie tie;
  size_t members = 0;
  if (value.Find("pid") != nullptr) {
    std::optional<Process> own = ProcessOf(value);
    if (!own) return std::nullopt;
    tie.processes.push_back(*own);
    tie.has_own = true;
    members += 2;
  }
  if (const JsonValue* exit = value.Find("exit"); exit != nullptr) {
    if (!ReadExit(*exit, &tie)) return std::nullopt;
    members += 1;
  }
  return members > 0 && value.members.size() == members ? std::optional(tie) : std::nullopt;
}

const char* ReadBinding(const JsonValue& value, Binding* binding) {
  if (!ReadOwner(value, &binding->owner)) return "owner";
  const JsonValue* to = value.Find("to");
  if (to == nullptr || to->kind != Kind::kArray) return "to";
  for (const JsonValue& item : to->items) {
    std::optional<Tie> tie = TieOf(item);
    if (!tie) return "to";
    binding->to.push_back(*tie);
  }
  return nullptr;
}

constexpr size_t kBindingMembers = 2;
constexpr size_t kRemovalMembers = 4;
constexpr size_t kAdditionMembers = 9;

// Calls `read` for each item of the list called `name`; returns what is wrong with the first wrong one.
template <typename Read>
std::string EachItem(const JsonValue& request, const char* name, size_t members, Read read) {
  const JsonValue* list = request.Find(name);
  if (list == nullptr || list->kind != Kind::kArray) return std::string(name) + " is no list";
  for (size_t i = 0; i < list->items.size(); ++i) {
    const JsonValue& item = list->items[i];
    const std::string place = std::string(name) + "[" + std::to_string(i) + "]";
    if (item.kind != Kind::kObject || item.members.size() != members) {
      return place + " is no object with " + std::to_string(members) + " members";
    }
    if (const char* wrong = read(item)) return place + "." + wrong + " is missing or wrong";
  }
  return "";
}

std::string ReadChange(const JsonValue& value, Request* out) {
  std::string problem = EachItem(value, "remove", kRemovalMembers, [out](const JsonValue& item) {
    Removal& removal = out->remove.emplace_back();
    return ReadKey(item, &removal.owner, &removal.key);
  });
  if (!problem.empty()) return problem;
  std::set<Key> keys;
  problem = EachItem(value, "add", kAdditionMembers, [out, &keys](const JsonValue& item) {
    Addition& addition = out->add.emplace_back();
    if (const char* wrong = ReadKey(item, &addition.owner, &addition.key)) return wrong;
    if (const char* wrong = ReadTarget(item, &addition)) return wrong;
    return keys.insert(addition.key).second ? nullptr : "host_port (named twice)";
  });
  if (!problem.empty() || value.Find("bound") == nullptr) return problem;
  std::set<std::string> owners;
  return EachItem(value, "bound", kBindingMembers, [out, &owners](const JsonValue& item) {
    Binding& binding = out->bound.emplace_back();
    if (const char* wrong = ReadBinding(item, &binding)) return wrong;
    return owners.insert(binding.owner).second ? nullptr : "owner (named twice)";
  });
}

std::string ReadLimits(const JsonValue& value, Limits* limits) {
  for (const auto& [name, member] : value.members) {
    if (name == "op") continue;
    std::optional<int64_t> number = value.FindInteger(name);
    if (!number || !limits->Set(name, *number)) return QuoteJson(name) + " is no limit, or out of range";
  }
  return "";
}

}  // namespace

std::string ReadRequest(const char* data, size_t size, Request* out) {
  *out = {};
  std::optional<JsonValue> value = cleat::ParseJson(data, size);
  if (!value || value->kind != Kind::kObject) return "no JSON object";
  std::optional<std::string> op = value->FindString("op");
  bool alone = value->members.size() == 1;
  if (op == "who" && alone) {
    out->op = Request::Op::kWho;
  } else if (op == "list" && (alone || (value->members.size() == 2 && ReadOwner(*value, &out->owner)))) {
    out->op = Request::Op::kList;
  } else if (op == "limits") {
    out->op = Request::Op::kLimits;
    return ReadLimits(*value, &out->limits);
  } else if (op == "change" && value->members.size() == (value->Find("bound") == nullptr ? 3U : 4U)) {
    out->op = Request::Op::kChange;
    return ReadChange(*value, out);
  } else {
    return "op is missing or unknown, or there are other members than it has";
  }
  return "";
}

std::string KeyMembers(const Key& key) {
  return std::string("\"protocol\":\"") + (key.protocol == Protocol::kTcp ? "tcp" : "udp") + "\",\"host_ip\":\"" +
         key.at.Address() + "\",\"host_port\":" + std::to_string(key.at.port());
}

std::string Refuse(const Refusal& refusal) {
  std::string json = "{\"ok\":false,\"error\":{\"message\":" + QuoteJson(refusal.message);
  if (refusal.error != 0) {
    json += ",\"errno\":" + QuoteJson(cleat::ErrnoName(refusal.error));
  }
  if (!refusal.syscall.empty()) json += ",\"syscall\":" + QuoteJson(refusal.syscall);
  if (!refusal.owner.empty()) json += ",\"owner\":" + QuoteJson(refusal.owner);
  if (refusal.key != nullptr) json += "," + KeyMembers(*refusal.key);
  return json + "}}";
}

}  // namespace cleat_forwarder
