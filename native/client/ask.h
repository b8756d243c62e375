// ask.h: one question to the daemon's API, and its answer as JSON.
//
// Guarantees: those of http.h. An answer is JSON, whatever its status, or there is none.
// Limits: an answer that is several lines (application/x-ndjson) is for who calls Exchange.
#pragma once

#include <string>

#include "../json/json.h"
#include "deadline.h"
#include "http.h"

namespace cleat_client {

struct Answer {
  int status = 0;
  cleat::JsonValue body;

  bool ok() const { return status >= 200 && status < 300; }
  // Returns the code of the error (state/faults.ts), empty without one.
  std::string code() const;
};

// Returns the error in an answer as a sentence for people: message, code and hint.
std::string Describe(const Answer& answer);

// Sends one request, over a connection of its own or one that is open. Returns why there is no answer; empty if there
// is one, whatever its status.
std::string Ask(const std::string& socket, const Request& request, const Deadline& deadline, Answer* out);
std::string Ask(Connection* connection, const Request& request, const Deadline& deadline, Answer* out);

}  // namespace cleat_client
