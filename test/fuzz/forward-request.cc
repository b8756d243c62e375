// Fuzz target: requests to the forwarder (native/forwarder/control/request.h).
//
// Checked besides memory: there is a reason or a request, never both; an accepted request has the guaranteed
// properties, can be written down, and is read again as the same; a refusal of it is JSON.
#include <memory>
#include <set>

#include "../../native/forwarder/control/request.h"
#include "../../native/json/json.h"
#include "must.h"

namespace {

using cleat_forwarder::Addition;
using cleat_forwarder::Binding;
using cleat_forwarder::Key;
using cleat_forwarder::Process;
using cleat_forwarder::Removal;
using cleat_forwarder::Request;
using cleat_forwarder::Tie;

std::string Read(const std::string& text, Request* request) {
  // Copies the text without the NUL that a string has behind its end.
  const std::unique_ptr<char[]> bytes(new char[text.size()]);
  text.copy(bytes.get(), text.size());
  return cleat_forwarder::ReadRequest(bytes.get(), text.size(), request);
}

std::string Begin(const std::string& owner, const Key& key) {
  return "{\"owner\":" + cleat::QuoteJson(owner) + "," + cleat_forwarder::KeyMembers(key);
}

std::string Text(const Process& process) {
  return "\"pid\":" + std::to_string(process.pid) + ",\"start_time\":" + std::to_string(process.start_time);
}

std::string Text(const Tie& tie) {
  std::string exit;
  if (tie.processes.size() > (tie.has_own ? 1U : 0U)) exit = Text(tie.processes.back());
  if (tie.pipe) {
    exit = Text(tie.pipe->holder) + ",\"fd\":" + std::to_string(tie.pipe->fd) +
           ",\"dev\":" + std::to_string(tie.pipe->dev) + ",\"ino\":" + std::to_string(tie.pipe->ino);
  }
  const std::string own = tie.has_own ? Text(tie.processes.front()) : "";
  if (exit.empty()) return "{" + own + "}";
  return "{" + own + (own.empty() ? "" : ",") + "\"exit\":{" + exit + "}}";
}

std::string Write(const Request& request) {
  if (request.op == Request::Op::kWho) return "{\"op\":\"who\"}";
  if (request.op == Request::Op::kList) {
    return "{\"op\":\"list\"" + (request.owner.empty() ? "" : ",\"owner\":" + cleat::QuoteJson(request.owner)) + "}";
  }
  std::string remove;
  std::string add;
  for (const Removal& removal : request.remove) {
    remove += (remove.empty() ? "" : ",") + Begin(removal.owner, removal.key) + "}";
  }
  for (const Addition& addition : request.add) {
    add += (add.empty() ? "" : ",") + Begin(addition.owner, addition.key) +
           ",\"netns\":" + cleat::QuoteJson(addition.netns) + ",\"dev\":" + std::to_string(addition.dev) +
           ",\"ino\":" + std::to_string(addition.ino) + ",\"address\":\"" + addition.to.Address() +
           "\",\"container_port\":" + std::to_string(addition.to.port()) + "}";
  }
  std::string bound;
  for (const Binding& binding : request.bound) {
    std::string to;
    for (const Tie& tie : binding.to) to += (to.empty() ? "" : ",") + Text(tie);
    bound += (bound.empty() ? "" : ",") + ("{\"owner\":" + cleat::QuoteJson(binding.owner)) + ",\"to\":[" + to + "]}";
  }
  return "{\"op\":\"change\",\"remove\":[" + remove + "],\"add\":[" + add + "],\"bound\":[" + bound + "]}";
}

void Judge(const std::string& owner, const Key& key) {
  MUST(!owner.empty() && owner.size() <= 255 && key.at.port() > 0 && !key.at.IsMulticast());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Request request;
  const std::string problem = Read(std::string(reinterpret_cast<const char*>(data), size), &request);
  if (!problem.empty()) {
    const std::string refusal = cleat_forwarder::Refuse({problem});
    MUST(cleat::ParseJson(refusal.data(), refusal.size()));
    return 0;
  }
  // A limit that was left out cannot be told from one that has its default value.
  if (request.op == Request::Op::kLimits) return 0;
  std::set<std::string> owners;
  for (const Binding& binding : request.bound) {
    MUST(!binding.owner.empty() && binding.owner.size() <= 255 && owners.insert(binding.owner).second);
    for (const Tie& tie : binding.to) {
      MUST(!tie.processes.empty() || tie.pipe);
      MUST(tie.processes.size() <= (tie.has_own ? 2U : 1U) && (tie.processes.empty() ? !tie.has_own : true));
      for (const Process& process : tie.processes) MUST(process.pid > 0 && process.start_time >= 0);
      if (tie.pipe) MUST(tie.pipe->holder.pid > 0 && tie.pipe->fd >= 0);
    }
  }
  std::set<Key> keys;
  for (const Removal& removal : request.remove) Judge(removal.owner, removal.key);
  for (const Addition& addition : request.add) {
    Judge(addition.owner, addition.key);
    MUST(keys.insert(addition.key).second);
    MUST(addition.netns.front() == '/' && addition.netns.find('\0') == std::string::npos);
    MUST(addition.to.port() > 0 && !addition.to.IsAny() && !addition.to.IsLoopback() && !addition.to.IsMulticast());
    const std::string refusal = cleat_forwarder::Refuse({"x", 98, "bind", addition.owner, &addition.key});
    MUST(cleat::ParseJson(refusal.data(), refusal.size()));
  }
  Request again;
  MUST(Read(Write(request), &again).empty());
  MUST(again.op == request.op && again.remove.size() == request.remove.size());
  MUST(again.add.size() == request.add.size() && again.bound.size() == request.bound.size());
  MUST(Write(again) == Write(request));
  return 0;
}
