// Fuzz target: the container state that a runtime passes to a hook (native/hook/container.h).
//
// Checked besides memory: there is a reason or a container, never both; the events made from it are JSON; the id is
// safe in a path; a container that can be made can be removed again.
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
  MUST(problem.empty() == !created.id.empty() && late.empty() == !stopped.id.empty());
  if (late.empty()) {
    MUST(stopped.id.size() <= 100 && stopped.id.find_first_of("/%?# \"\\\r\n") == std::string::npos);
    MUST(Event(cleat_hook::Teardown(stopped.id), stopped.id).FindString("type") == "teardown");
  }
  if (!problem.empty()) return 0;
  MUST(created.id == stopped.id && created.pid > 0);
  const std::string events = cleat_hook::CreateAndConfigure(created);
  const size_t line = events.find('\n');
  MUST(events.find('\n', line + 1) == events.size() - 1);
  MUST(Event(events.substr(0, line), created.id).Find("netns")->FindInteger("pid") == created.pid);
  Event(events.substr(line + 1), created.id);
  return 0;
}
