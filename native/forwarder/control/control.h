// control.h: the socket on which the daemon sends requests to the forwarder.
//
// Guarantees: one instance for a socket path: an instance that does not get the lock (PATH.lock, flock(2)) does not
// listen. The socket is 0600, and peers other than root and the own user are closed without an answer. One request at a
// time is handled, lines in the order they came, and nothing more is received while one waits. An answer that is not
// fetched holds up its own session alone. A line that is no request is answered, and nothing after it: the bytes behind
// it cannot be trusted to begin where they seem to. Limits: kMaxSessions; one more closes the oldest.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "../ports/engine.h"
#include "../ports/place.h"
#include "table.h"

namespace cleat_forwarder {

class Control : public Source {
 public:
  Control(Engine* engine, Table* table) : engine_(engine), table_(table) {}
  ~Control() override;

  // Begins to listen. `taken`: another instance has the lock.
  Failure Open(const std::string& path, bool* taken);
  // Removes the socket and closes all sessions.
  void Close();

  void Ready(uint32_t events) override;

 private:
  class Session;

  Engine* const engine_;
  Table* const table_;
  // The user that may connect beside root: the one that the process had before it changed its user.
  const uid_t owner_ = geteuid();
  UniqueFd directory_;
  UniqueFd lock_;
  UniqueFd socket_;
  std::string name_;
  std::list<Session*> sessions_;
};

}  // namespace cleat_forwarder
