// ask.cc: see ask.h.
#include "ask.h"

#include <optional>
#include <utility>

namespace cleat_client {

using cleat::JsonValue;

std::string Answer::code() const {
  const JsonValue* error = body.Find("error");
  return error == nullptr ? "" : error->FindString("code").value_or("");
}

std::string Describe(const Answer& answer) {
  const JsonValue* error = answer.body.Find("error");
  std::optional<std::string> message = error == nullptr ? std::nullopt : error->FindString("message");
  if (!message) return "the daemon answered with status " + std::to_string(answer.status) + " and no reason";
  std::string text = *message + " (" + answer.code() + ")";
  if (std::optional<std::string> hint = error->FindString("hint")) text += ". " + *hint;
  return text;
}

namespace {

std::string Read(const Reply& reply, Answer* out) {
  std::optional<JsonValue> body = cleat::ParseJson(reply.body.data(), reply.body.size());
  if (!body) return "the daemon's answer (status " + std::to_string(reply.status) + ") is no JSON";
  *out = {reply.status, std::move(*body)};
  return "";
}

}  // namespace

std::string Ask(const std::string& socket, const Request& request, const Deadline& deadline, Answer* out) {
  Reply reply;
  std::string problem = Exchange(socket, request, deadline, &reply);
  return problem.empty() ? Read(reply, out) : problem;
}

std::string Ask(Connection* connection, const Request& request, const Deadline& deadline, Answer* out) {
  Reply reply;
  std::string problem = connection->Exchange(request, deadline, &reply);
  return problem.empty() ? Read(reply, out) : problem;
}

}  // namespace cleat_client
