// Fuzz target: the daemon's answer as the small executables read it (native/client/http.h, ParseReply).
//
// Checked besides memory: however an answer is cut into pieces, it is read as the same or not at all. A complete one
// stays so with more behind it, a malformed one does not heal, and none is incomplete at the end of the connection.
#include "../../native/client/http.h"

#include <algorithm>
#include <memory>

#include "must.h"

namespace {

using cleat_client::Reply;
using cleat_client::ReplyParse;

ReplyParse Parse(const uint8_t* data, size_t size, bool ended, Reply* reply) {
  const std::unique_ptr<char[]> bytes(new char[size]);
  std::copy(data, data + size, bytes.get());
  const ReplyParse result = cleat_client::ParseReply(bytes.get(), size, ended, reply);
  if (result == ReplyParse::kComplete) {
    MUST(reply->status >= 200 && reply->status <= 599);
    MUST(reply->body.size() <= size);
  } else {
    MUST(reply->status == 0 && reply->body.empty());
  }
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  // The first byte says where the answer is cut.
  const size_t cut = (size - 1) * *data++ / 256;
  size--;
  Reply part;
  Reply whole;
  Reply last;
  const ReplyParse first = Parse(data, cut, false, &part);
  const ReplyParse second = Parse(data, size, false, &whole);
  const ReplyParse end = Parse(data, size, true, &last);
  MUST(end != ReplyParse::kIncomplete);
  if (first == ReplyParse::kMalformed) MUST(second == ReplyParse::kMalformed);
  if (first == ReplyParse::kComplete) {
    MUST(second == ReplyParse::kComplete && whole.status == part.status && whole.body == part.body);
  }
  if (second != ReplyParse::kIncomplete) MUST(end == second && last.status == whole.status && last.body == whole.body);
  return 0;
}
