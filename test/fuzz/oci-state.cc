// Fuzz target: the container state that a runtime passes to a hook, and config.json of its bundle
// (native/hook/container.h).
//
// Checked besides memory: there is a reason or a container, never both; the events made from it are JSON; the id is
// safe in a path; a container that can be made can be removed again; it has networks, an uplink or neither, never both;
// networks have options only where cleat.network or the default names them. A text that is no object is no config.json.
#include <string>

#include "../../native/hook/container.h"
#include "../../native/json/json.h"
#include "must.h"

namespace {

using cleat::JsonValue;
using cleat_hook::Container;
using cleat_hook::Stage;

JsonValue Event(const std::string& text, const std::string& id) {
  const std::optional<JsonValue> event = cleat::ParseJson(text.data(), text.size());
  MUST(event && event->kind == JsonValue::Kind::kObject);
  MUST(event->FindString("id") == id && event->FindString("type"));
  return *event;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const char* text = reinterpret_cast<const char*>(data);
  Container created;
  Container stopped;
  const std::string problem = cleat_hook::ReadContainer(Stage::kCreateRuntime, text, size, &created);
  const std::string late = cleat_hook::ReadContainer(Stage::kPoststop, text, size, &stopped);
  bool joins = false;
  const std::optional<JsonValue> config = cleat::ParseJson(text, size);
  const bool is_object = config && config->kind == JsonValue::Kind::kObject;
  MUST(cleat_hook::ReadConfig(text, size, &joins).empty() == is_object);
  MUST(!joins || config->Find("linux") != nullptr);
  MUST(problem.empty() == !created.id.empty() && late.empty() == !stopped.id.empty());
  if (late.empty()) {
    MUST(stopped.id.size() <= 100 && stopped.id.find_first_of("/%?# \"\\\r\n") == std::string::npos);
    MUST(Event(cleat_hook::Teardown(stopped.id), stopped.id).FindString("type") == "teardown");
  }
  if (!problem.empty()) return 0;
  MUST(created.id == stopped.id && created.pid > 0);
  const std::string events = cleat_hook::CreateAndConfigure(created, {created.pid, 5});
  const size_t line = events.find('\n');
  MUST(events.find('\n', line + 1) == events.size() - 1);
  const JsonValue create = Event(events.substr(0, line), created.id);
  MUST(create.Find("netns")->FindInteger("pid") == created.pid);
  MUST(create.Find("exit_fd")->FindInteger("fd") == 5);
  MUST(create.Find("networks") == nullptr || create.Find("uplink") == nullptr);
  if (const JsonValue* uplink = create.Find("uplink"); uplink != nullptr) {
    const std::string program = uplink->FindString("program").value_or("");
    MUST(program == "slirp4netns" || program == "pasta");
    MUST(created.network.names_network);
  }
  Event(events.substr(line + 1), created.id);
  return 0;
}
