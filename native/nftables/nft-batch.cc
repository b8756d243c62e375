// nft-batch.cc: see nft-batch.h. The messages are built with libmnl by nf_tables.h's attribute names; libnftnl writes
// the expressions of rules.
#include "nft-batch.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "../netlink/nlattr.h"
#include "nft-data.h"
#include "nft-expression.h"

namespace cleat {
namespace {

// Largest message: a list of elements of nearly 64 KB, or a rule of kExpressionLimit expressions.
constexpr size_t kScratch = 1 << 17;
constexpr size_t kElementsLimit = 60000;
constexpr size_t kExpressionLimit = 128;            // the kernel's own (NFT_RULE_MAXEXPRS)
constexpr uint32_t kVerdictType = 0xffffff00;       // NFT_DATA_VERDICT: the data type of a verdict map
constexpr uint32_t kHostOrder = 1, kBigEndian = 2;  // nftables, enum byteorder

constexpr NftWord kChainTypes[] = {{"filter", 0}, {"nat", 1}, {"route", 2}};
constexpr NftWord kHooks[] = {
    {"prerouting", NF_INET_PRE_ROUTING}, {"input", NF_INET_LOCAL_IN},           {"forward", NF_INET_FORWARD},
    {"output", NF_INET_LOCAL_OUT},       {"postrouting", NF_INET_POST_ROUTING},
};
constexpr NftWord kPolicies[] = {{"accept", NF_ACCEPT}, {"drop", NF_DROP}};

void PutText(nlmsghdr* message, uint16_t type, const std::string& text) {
  mnl_attr_put_strz(message, type, text.c_str());
}

void PutU32(nlmsghdr* message, uint16_t type, uint32_t value) {
  mnl_attr_put_u32(message, type, htonl(value));
}

void PutBytes(nlmsghdr* message, uint16_t type, const std::string& bytes) {
  if (!bytes.empty()) mnl_attr_put(message, type, bytes.size(), bytes.data());
}

void PutData(nlmsghdr* message, uint16_t type, const std::string& bytes) {
  nlattr* nest = mnl_attr_nest_start(message, type);
  PutBytes(message, NFTA_DATA_VALUE, bytes);
  mnl_attr_nest_end(message, nest);
}

void PutVerdict(nlmsghdr* message, uint16_t type, const NftVerdict& verdict) {
  nlattr* nest = mnl_attr_nest_start(message, type);
  nlattr* inner = mnl_attr_nest_start(message, NFTA_DATA_VERDICT);
  PutU32(message, NFTA_VERDICT_CODE, static_cast<uint32_t>(verdict.code));
  if (!verdict.chain.empty()) PutText(message, NFTA_VERDICT_CHAIN, verdict.chain);
  mnl_attr_nest_end(message, inner);
  mnl_attr_nest_end(message, nest);
}

// Returns the byte orders of key and data. `nft list` needs them for values whose type has none (nftables, netlink.c).
std::string ByteOrders(const NftTypes& key, const NftTypes& data) {
  std::unique_ptr<nftnl_udata_buf, decltype(&nftnl_udata_buf_free)> buffer(nftnl_udata_buf_alloc(NFT_USERDATA_MAXLEN),
                                                                           nftnl_udata_buf_free);
  nftnl_udata_put_u32(buffer.get(), NFTNL_UDATA_SET_KEYBYTEORDER, key.hostOrder() ? kHostOrder : kBigEndian);
  if (!data.parts.empty()) {
    nftnl_udata_put_u32(buffer.get(), NFTNL_UDATA_SET_DATABYTEORDER, data.hostOrder() ? kHostOrder : kBigEndian);
  }
  return std::string(static_cast<const char*>(nftnl_udata_buf_data(buffer.get())), nftnl_udata_buf_len(buffer.get()));
}

void PutElement(Input& input, nlmsghdr* message, Napi::Object element, bool keyOnly) {
  nlattr* nest = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
  PutData(message, NFTA_SET_ELEM_KEY, ReadData(input, input.Get(element, "key"), "key"));
  if (input.OptionalFlag(element, "intervalEnd").value_or(false)) {
    PutU32(message, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  }
  // Deleting goes by key alone: the kernel does not compare the data (nf_tables_api.c, nft_del_setelem).
  const Napi::Value data = keyOnly ? Napi::Value() : input.Get(element, "data");
  if (!data.IsEmpty() && !data.IsUndefined()) {
    if (data.IsArray()) {
      PutData(message, NFTA_SET_ELEM_DATA, ReadData(input, data, "data"));
    } else {
      PutVerdict(message, NFTA_SET_ELEM_DATA, ReadVerdict(input, input.Object(data, "data")));
    }
  }
  if (!keyOnly) PutBytes(message, NFTA_SET_ELEM_USERDATA, ReadComment(input, element));
  mnl_attr_nest_end(message, nest);
}

// Returns how many of a message's elements start at or before `offset`.
uint32_t ElementsUntil(const nlmsghdr* message, uint32_t offset) {
  uint32_t count = 0;
  const char* fault = reinterpret_cast<const char*>(message) + offset;
  EachAttribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
    if (mnl_attr_get_type(attribute) != NFTA_SET_ELEM_LIST_ELEMENTS) return;
    EachAttribute(attribute, [&](const nlattr* element) {
      if (reinterpret_cast<const char*>(element) <= fault) count++;
    });
  });
  return count;
}

}  // namespace

struct NftBatch::Kind {
  const char* op;
  const char* name;  // the message's name, for Failure.syscall
  uint16_t type;
  uint16_t flags;
  const char* what;  // the property that names the object, beside the table
  void (NftBatch::*encode)(Input&, Napi::Object);
};

const NftBatch::Kind NftBatch::kKinds[] = {
    {"table.add", "NFT_MSG_NEWTABLE", NFT_MSG_NEWTABLE, NLM_F_CREATE, nullptr, &NftBatch::Table},
    {"table.del", "NFT_MSG_DELTABLE", NFT_MSG_DELTABLE, 0, nullptr, &NftBatch::Table},
    {"chain.add", "NFT_MSG_NEWCHAIN", NFT_MSG_NEWCHAIN, NLM_F_CREATE, "chain", &NftBatch::Chain},
    {"chain.del", "NFT_MSG_DELCHAIN", NFT_MSG_DELCHAIN, 0, "chain", &NftBatch::Chain},
    // DELRULE without a handle deletes all rules of a chain.
    {"chain.flush", "NFT_MSG_DELRULE", NFT_MSG_DELRULE, 0, "chain", &NftBatch::Rule},
    {"rule.add", "NFT_MSG_NEWRULE", NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, "chain", &NftBatch::Rule},
    {"rule.del", "NFT_MSG_DELRULE", NFT_MSG_DELRULE, 0, "chain", &NftBatch::Rule},
    {"set.add", "NFT_MSG_NEWSET", NFT_MSG_NEWSET, NLM_F_CREATE, "set", &NftBatch::Set},
    {"set.del", "NFT_MSG_DELSET", NFT_MSG_DELSET, 0, "set", &NftBatch::Set},
    {"set.flush", "NFT_MSG_DELSETELEM", NFT_MSG_DELSETELEM, 0, "set", &NftBatch::SetFlush},
    {"element.add", "NFT_MSG_NEWSETELEM", NFT_MSG_NEWSETELEM, NLM_F_CREATE, "set", &NftBatch::Elements},
    {"element.del", "NFT_MSG_DELSETELEM", NFT_MSG_DELSETELEM, 0, "set", &NftBatch::Elements},
};

NftBatch::NftBatch() : scratch_(new char[kScratch]) {
  const nlmsghdr* begin = nftnl_batch_begin(scratch_.get(), 0);
  bytes_.append(scratch_.get(), begin->nlmsg_len);
}

void NftBatch::Add(Input& input, Napi::Object operation) {
  const std::string op = input.Text(operation, "op");
  for (const Kind& kind : kKinds) {
    if (op != kind.op) continue;
    std::string object = ReadName(input, operation, "table");
    if (kind.what != nullptr) object += "/" + ReadName(input, operation, kind.what);
    if (!input.ok()) return;
    operations_.push_back({&kind, std::move(object)});
    (this->*kind.encode)(input, operation);
    return;
  }
  if (input.ok()) input.Invalid("nft", "op " + op);
}

nlmsghdr* NftBatch::Begin(uint32_t elements) {
  const Kind& kind = *operations_.back().kind;
  messages_.push_back({bytes_.size(), operations_.size() - 1, elements});
  // Message 0 is BATCH_BEGIN; Nfnl::Commit renumbers.
  return nftnl_nlmsg_build_hdr(scratch_.get(), kind.type, NFPROTO_INET, kind.flags,
                               static_cast<uint32_t>(messages_.size()));
}

void NftBatch::End(nlmsghdr* message) {
  bytes_.append(reinterpret_cast<char*>(message), message->nlmsg_len);
}

void NftBatch::Table(Input& input, Napi::Object operation) {
  nlmsghdr* message = Begin();
  PutText(message, NFTA_TABLE_NAME, ReadName(input, operation, "table"));
  End(message);
}

void NftBatch::Chain(Input& input, Napi::Object operation) {
  nlmsghdr* message = Begin();
  PutText(message, NFTA_CHAIN_TABLE, ReadName(input, operation, "table"));
  PutText(message, NFTA_CHAIN_NAME, ReadName(input, operation, "chain"));
  if (const Napi::Value value = input.Get(operation, "hook"); !value.IsUndefined()) {
    const Napi::Object hook = input.Object(value, "hook");
    nlattr* nest = mnl_attr_nest_start(message, NFTA_CHAIN_HOOK);
    PutU32(message, NFTA_HOOK_HOOKNUM, ReadWord(input, hook, "hook", kHooks));
    const int64_t priority = input.Integer(input.Get(hook, "priority"), "priority", INT32_MIN, INT32_MAX);
    PutU32(message, NFTA_HOOK_PRIORITY, static_cast<uint32_t>(priority));
    mnl_attr_nest_end(message, nest);
    PutU32(message, NFTA_CHAIN_POLICY, ReadWord(input, hook, "policy", kPolicies));
    PutText(message, NFTA_CHAIN_TYPE, kChainTypes[ReadWord(input, hook, "type", kChainTypes)].word);
  }
  End(message);
}

void NftBatch::Rule(Input& input, Napi::Object operation) {
  nlmsghdr* message = Begin();
  PutText(message, NFTA_RULE_TABLE, ReadName(input, operation, "table"));
  PutText(message, NFTA_RULE_CHAIN, ReadName(input, operation, "chain"));
  const std::string op = operations_.back().kind->op;
  if (op == "rule.del") {
    const int64_t handle = input.Integer(input.Get(operation, "handle"), "handle", 1, INT64_C(1) << 53);
    mnl_attr_put_u64(message, NFTA_RULE_HANDLE, htobe64(static_cast<uint64_t>(handle)));
  } else if (op == "rule.add") {
    const std::vector<Napi::Value> expressions = input.Items(input.Get(operation, "expressions"), "expressions");
    if (expressions.size() > kExpressionLimit) return input.Invalid("nft", "more than 128 expressions");
    nlattr* nest = mnl_attr_nest_start(message, NFTA_RULE_EXPRESSIONS);
    for (Napi::Value value : expressions) {
      const NftExpression expression = ReadExpression(input, input.Object(value, "expression"));
      if (expression == nullptr) return;
      nlattr* item = mnl_attr_nest_start(message, NFTA_LIST_ELEM);
      nftnl_expr_build_payload(message, expression.get());
      mnl_attr_nest_end(message, item);
    }
    mnl_attr_nest_end(message, nest);
    PutBytes(message, NFTA_RULE_USERDATA, ReadComment(input, operation));
  }
  End(message);
}

void NftBatch::Set(Input& input, Napi::Object operation) {
  nlmsghdr* message = Begin();
  PutText(message, NFTA_SET_TABLE, ReadName(input, operation, "table"));
  PutText(message, NFTA_SET_NAME, ReadName(input, operation, "set"));
  if (operations_.back().kind->type == NFT_MSG_NEWSET) {
    const NftTypes key = ReadTypes(input, input.Get(operation, "key"), "key");
    if (!input.ok()) return;
    // The kernel requires it for every new set, but finds only anonymous sets by it.
    PutU32(message, NFTA_SET_ID, static_cast<uint32_t>(messages_.size()));
    PutU32(message, NFTA_SET_KEY_TYPE, key.number());
    PutU32(message, NFTA_SET_KEY_LEN, key.length());
    NftTypes data;
    const Napi::Value value = input.Get(operation, "data");
    uint32_t flags = value.IsUndefined() ? 0 : NFT_SET_MAP;
    if (input.OptionalFlag(operation, "interval").value_or(false)) flags |= NFT_SET_INTERVAL;
    if (flags != 0) PutU32(message, NFTA_SET_FLAGS, flags);
    if (value.IsString() && input.Text(value, "data") == "verdict") {
      PutU32(message, NFTA_SET_DATA_TYPE, kVerdictType);
    } else if (!value.IsUndefined()) {
      data = ReadTypes(input, value, "data");
      if (!input.ok()) return;
      PutU32(message, NFTA_SET_DATA_TYPE, data.number());
      PutU32(message, NFTA_SET_DATA_LEN, data.length());
    }
    PutBytes(message, NFTA_SET_USERDATA, ByteOrders(key, data));
  }
  End(message);
}

// Sends DELSETELEM without a list of elements, which deletes all of them.
void NftBatch::SetFlush(Input& input, Napi::Object operation) {
  nlmsghdr* message = Begin();
  PutText(message, NFTA_SET_ELEM_LIST_TABLE, ReadName(input, operation, "table"));
  PutText(message, NFTA_SET_ELEM_LIST_SET, ReadName(input, operation, "set"));
  End(message);
}

// Sends no message if there are no elements: one without a list would be a flush.
void NftBatch::Elements(Input& input, Napi::Object operation) {
  const std::string table = ReadName(input, operation, "table");
  const std::string set = ReadName(input, operation, "set");
  const bool keyOnly = operations_.back().kind->type == NFT_MSG_DELSETELEM;
  const bool exclusive = input.OptionalFlag(operation, "exclusive").value_or(false);
  const Napi::Value list = input.Get(operation, "elements");
  if (!list.IsArray()) return input.WrongType("elements", "an array");
  const Napi::Array elements = list.As<Napi::Array>();
  const uint32_t total = elements.Length();
  for (uint32_t next = 0; next < total;) {
    nlmsghdr* message = Begin(next);
    if (exclusive) message->nlmsg_flags |= NLM_F_EXCL;
    PutText(message, NFTA_SET_ELEM_LIST_TABLE, table);
    PutText(message, NFTA_SET_ELEM_LIST_SET, set);
    nlattr* nest = mnl_attr_nest_start(message, NFTA_SET_ELEM_LIST_ELEMENTS);
    for (; next < total && message->nlmsg_len < kElementsLimit; next++) {
      // Handles of 20,000 elements would otherwise pile up until the call returns.
      Napi::HandleScope scope(elements.Env());
      PutElement(input, message, input.Object(elements.Get(next), "element"), keyOnly);
      if (!input.ok()) return;
    }
    mnl_attr_nest_end(message, nest);
    End(message);
  }
}

Failure NftBatch::Commit(Nfnl& socket) {
  if (messages_.empty()) return {};
  // The kernel always reports errors, but success only on request; one acknowledgement is enough. Kernels before 6.10
  // do not acknowledge BATCH_END, so the last message before it requests one.
  reinterpret_cast<nlmsghdr*>(bytes_.data() + messages_.back().start)->nlmsg_flags |= NLM_F_ACK;
  const nlmsghdr* end = nftnl_batch_end(scratch_.get(), static_cast<uint32_t>(messages_.size()) + 1);
  bytes_.append(scratch_.get(), end->nlmsg_len);
  Nfnl::Refusal refusal;
  if (Failure failure = socket.Commit(&bytes_, &refusal)) {
    failure.object = operations_.front().object;
    return failure;
  }
  return refusal.error == 0 ? Failure{} : Describe(refusal);
}

Failure NftBatch::Describe(const Nfnl::Refusal& refusal) const {
  const size_t index = refusal.sequence - 1;
  if (refusal.sequence == 0 || index >= messages_.size()) {
    return {refusal.error, "NFNL_MSG_BATCH", operations_.front().object};
  }
  const Message& message = messages_[index];
  const Operation& operation = operations_[message.operation];
  std::string object = std::string(operation.kind->op) + " " + operation.object + " #";
  object += std::to_string(message.operation);
  if (operation.kind->encode == &NftBatch::Elements && refusal.offset != 0) {
    const auto* header = reinterpret_cast<const nlmsghdr*>(bytes_.data() + message.start);
    const uint32_t count = ElementsUntil(header, refusal.offset);
    if (count > 0) object += "[" + std::to_string(message.elements + count - 1) + "]";
  }
  return {refusal.error, operation.kind->name, object};
}

}  // namespace cleat
