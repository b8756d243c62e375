// Fuzz target: nf_tables' dumps of tables, chains, rules, sets and elements (native/nftables/nft-decode.h).
//
// Checked besides memory: text has no NUL, and known types have the number they were made from.
#include <linux/netfilter/nf_tables.h>

#include "../../native/nftables/nft-decode.h"
#include "datagram.h"
#include "must.h"

namespace {

bool IsText(const std::string& text) {
  return text.find('\0') == std::string::npos;
}

void Check(const cleat::NftTypes& types) {
  if (types.parts.empty()) return;
  const cleat::NftTypes again = cleat::TypesOf(types.number());
  MUST(again.parts == types.parts);
  MUST(types.length() > 0 && types.length() <= 5 * 16 && !types.Name().empty());
}

void Take(const nlmsghdr* message) {
  cleat::GenerationOf(message);
  cleat::DecodeTable(message);
  const cleat::ChainFacts chain = cleat::DecodeChain(message);
  const cleat::RuleFacts rule = cleat::DecodeRule(message);
  const cleat::SetFacts set = cleat::DecodeSet(message);
  MUST(IsText(chain.table) && IsText(chain.name) && IsText(rule.chain) && IsText(rule.comment) && IsText(set.name));
  Check(set.key);
  Check(set.data);
  cleat::DecodeElements(message, [message](cleat::ElementFacts& element) {
    MUST(element.key.size() + element.data.size() + element.comment.size() < message->nlmsg_len);
    MUST(IsText(element.comment) && (!element.verdict || IsText(element.verdict->chain)));
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  EachMessageOf(data, size, Take);
  AsOneMessage(data, size, Take);
  return 0;
}
