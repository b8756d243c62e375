// control.h: the socket by which the daemon tells the forwarder what to do.
//
// Guarantees: one instance for a socket path: who does not get the lock (PATH.lock, flock(2)) is not there. The socket
// is 0600, and peers other than root and the own user are closed without a word. One request at a time is worked off,
// lines in the order they came, and no more is taken in while one waits; an answer that is not fetched holds up its own
// session alone. A line that is no request is answered, and nothing after it: what comes behind cannot be trusted to
// begin where it seems to. Limits: kMaxSessions; who comes when there are as many closes the oldest.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "engine.h"
#include "place.h"
#include "table.h"

namespace cleat_forwarder {

class Control : public Source {
 public:
  Control(Engine* engine, Table* table) : engine_(engine), table_(table) {}
  ~Control() override;

  // `taken`: another instance has it.
  Failure Open(const std::string& path, bool* taken);
  // Nobody can connect any more.
  void Close();

  void Ready(uint32_t events) override;

 private:
  class Session;

  Engine* const engine_;
  Table* const table_;
  // The user that may talk to it beside root: the one that the process had before it changed its user.
  const uid_t owner_ = geteuid();
  UniqueFd directory_;
  UniqueFd lock_;
  UniqueFd socket_;
  std::string name_;
  std::list<Session*> sessions_;
};

}  // namespace cleat_forwarder
