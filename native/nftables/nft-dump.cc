// nft-dump.cc: Outside.nftTable and Outside.nftElements: read the contents of a table back from the kernel.
//
// Guarantees: a result is of one generation of the ruleset. A dump that the kernel interrupted is repeated, and so is a
// series of dumps that saw different generations (every answer carries the low 16 bits of the generation in res_id,
// nf_tables_api.c). No element is missing and none is there twice, even while the kernel resizes the set.
// Limits: elements are counted by dumping them (NFTA_SET_COUNT is newer than the kernels we run on), about 1 ms for
// each thousand.
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <map>
#include <memory>
#include <optional>
#include <unordered_set>

#include "../node/input.h"
#include "nfnl.h"
#include "nft-data.h"
#include "nft-decode.h"
#include "nft.h"

namespace cleat {
namespace {

// The dumps of one table, all of the same generation.
class Reader {
 public:
  Reader(Nfnl& socket, std::string table) : socket_(socket), table_(std::move(table)) {}

  using Names = std::initializer_list<std::pair<uint16_t, std::string>>;
  // type: NFT_MSG_GET*; flags: NLM_F_DUMP or none; names: the attributes that name the object.
  Failure Get(uint16_t type, const char* name, uint16_t flags, Names names, const Nfnl::Handler& handler) {
    char buffer[2048];
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer, type, NFPROTO_INET, flags, 0);
    for (const auto& [attribute, text] : names) mnl_attr_put_strz(request, attribute, text.c_str());
    bool mixed = false;
    Failure failure = socket_.Request(request, name, table_, [&](const nlmsghdr* answer) {
      const std::optional<uint16_t> generation = GenerationOf(answer);
      if (generation_ && generation_ != generation) mixed = true;
      generation_ = generation;
      handler(answer);
    });
    if (!failure && mixed) return {EINTR, name, table_};
    return failure;
  }

 private:
  Nfnl& socket_;
  const std::string table_;
  std::optional<uint16_t> generation_;
};

// Dumps the elements of a set. The kernel continues a dump by counting elements (nf_tables_dump_set). It does not
// report that the hash table was resized in between, as happens for a moment after many elements were added: as many
// elements are then missing as are there twice. An element that is there twice is therefore EINTR, as if the kernel had
// reported it.
template <typename Fn>
Failure EachElement(Reader& reader, const std::string& table, const std::string& set, Fn fn) {
  std::unordered_set<std::string> keys;
  bool twice = false;
  const Nfnl::Handler handler = [&](const nlmsghdr* answer) {
    DecodeElements(answer, [&](ElementFacts& element) {
      // The next interval may begin where one ends, with the same key.
      if (!keys.insert(element.key + (element.interval_end ? '\1' : '\0')).second) twice = true;
      fn(element);
    });
  };
  Failure failure = reader.Get(NFT_MSG_GETSETELEM, "NFT_MSG_GETSETELEM", NLM_F_DUMP,
                               {{NFTA_SET_ELEM_LIST_TABLE, table}, {NFTA_SET_ELEM_LIST_SET, set}}, handler);
  if (!failure && twice) return {EINTR, "NFT_MSG_GETSETELEM", table + "/" + set};
  return failure;
}

class TableJob : public Job {
 public:
  TableJob(Napi::Env env, std::string table) : Job(env), table_(std::move(table)) {}

  Failure Execute(Worker& worker) override {
    Failure failure = UntilConsistent(table_, [&] { return Read(worker.nfnl()); });
    // ENOENT: the table was gone before, or between two of the dumps.
    if (failure.error != ENOENT) return failure;
    found_ = false;
    return {};
  }

  Napi::Value Resolve(Napi::Env env) override {
    if (!found_) return env.Null();
    Napi::Array chains = Napi::Array::New(env);
    for (const auto& [name, chain] : chains_) {
      Napi::Array rules = Napi::Array::New(env);
      for (const RuleSeen& rule : chain.rules) {
        Napi::Object object = Napi::Object::New(env);
        object["handle"] = static_cast<double>(rule.handle);
        object["comment"] = rule.comment;
        rules.Set(rules.Length(), object);
      }
      Napi::Object object = Napi::Object::New(env);
      object["name"] = name;
      object["hook"] = HookOf(env, chain.facts);
      object["rules"] = rules;
      chains.Set(chains.Length(), object);
    }
    Napi::Array sets = Napi::Array::New(env);
    for (const auto& [name, set] : sets_) {
      Napi::Object object = Napi::Object::New(env);
      object["name"] = name;
      object["key"] = set.key;
      object["map"] = set.map;
      object["interval"] = set.interval;
      object["flags"] = set.flags;
      object["elements"] = set.elements;
      sets.Set(sets.Length(), object);
    }
    Napi::Object table = Napi::Object::New(env);
    table["handle"] = static_cast<double>(facts_.handle);
    table["flags"] = facts_.flags;
    table["chains"] = chains;
    table["sets"] = sets;
    return table;
  }

 private:
  struct RuleSeen {
    uint64_t handle;
    std::string comment;
  };
  struct ChainSeen {
    ChainFacts facts;
    std::vector<RuleSeen> rules;
  };
  struct SetSeen {
    std::string key;
    bool map = false;
    bool interval = false;
    uint32_t flags = 0;
    uint32_t elements = 0;
  };

  static Napi::Value HookOf(Napi::Env env, const ChainFacts& chain) {
    if (!chain.hooked) return env.Null();
    static const std::map<uint32_t, const char*> kNames{{NF_INET_PRE_ROUTING, "prerouting"},
                                                        {NF_INET_LOCAL_IN, "input"},
                                                        {NF_INET_FORWARD, "forward"},
                                                        {NF_INET_LOCAL_OUT, "output"},
                                                        {NF_INET_POST_ROUTING, "postrouting"}};
    const auto name = kNames.find(chain.hook.value_or(NF_INET_NUMHOOKS));
    Napi::Object hook = Napi::Object::New(env);
    hook["type"] = chain.type;
    hook["hook"] = name == kNames.end() ? "" : name->second;
    hook["priority"] = chain.priority;
    hook["policy"] = chain.policy == NF_DROP ? "drop" : "accept";
    return hook;
  }

  Failure Read(Nfnl& socket) {
    chains_.clear();
    sets_.clear();
    Reader reader(socket, table_);
    Failure failure = reader.Get(NFT_MSG_GETTABLE, "NFT_MSG_GETTABLE", NLM_F_ACK, {{NFTA_TABLE_NAME, table_}},
                                 [&](const nlmsghdr* answer) { facts_ = DecodeTable(answer); });
    if (failure) return failure;
    failure = reader.Get(NFT_MSG_GETCHAIN, "NFT_MSG_GETCHAIN", NLM_F_DUMP, {{NFTA_CHAIN_TABLE, table_}},
                         [&](const nlmsghdr* answer) {
                           const ChainFacts chain = DecodeChain(answer);
                           // Older kernels dump the chains of all tables.
                           if (chain.table == table_) chains_[chain.name].facts = chain;
                         });
    if (failure) return failure;
    failure = reader.Get(NFT_MSG_GETRULE, "NFT_MSG_GETRULE", NLM_F_DUMP, {{NFTA_RULE_TABLE, table_}},
                         [&](const nlmsghdr* answer) {
                           const RuleFacts rule = DecodeRule(answer);
                           if (rule.table == table_) chains_[rule.chain].rules.push_back({rule.handle, rule.comment});
                         });
    if (failure) return failure;
    failure = reader.Get(NFT_MSG_GETSET, "NFT_MSG_GETSET", NLM_F_DUMP, {{NFTA_SET_TABLE, table_}},
                         [&](const nlmsghdr* answer) {
                           const SetFacts set = DecodeSet(answer);
                           if (set.table == table_)
                             sets_[set.name] = {set.key.Name(), set.map, set.interval, set.flags, 0};
                         });
    for (auto entry = sets_.begin(); !failure && entry != sets_.end(); ++entry) {
      failure = EachElement(reader, table_, entry->first, [&](const ElementFacts&) { entry->second.elements++; });
    }
    return failure;
  }

  const std::string table_;
  bool found_ = true;
  TableFacts facts_;
  std::map<std::string, ChainSeen> chains_;
  std::map<std::string, SetSeen> sets_;
};

class ElementsJob : public Job {
 public:
  ElementsJob(Napi::Env env, std::string table, std::string set)
      : Job(env), table_(std::move(table)), set_(std::move(set)) {}

  Failure Execute(Worker& worker) override {
    Failure failure = UntilConsistent(table_, [&] { return Read(worker.nfnl()); });
    if (failure) failure.object = table_ + "/" + set_;
    return failure;
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array elements = Napi::Array::New(env, elements_.size());
    uint32_t index = 0;
    for (const ElementFacts& seen : elements_) {
      Napi::HandleScope scope(env);
      Napi::Object element = Napi::Object::New(env);
      element["key"] = WriteData(env, key_, seen.key);
      if (seen.verdict) {
        element["data"] = WriteVerdict(env, *seen.verdict);
      } else if (!seen.data.empty()) {
        element["data"] = WriteData(env, data_, seen.data);
      }
      if (seen.interval_end) element["intervalEnd"] = true;
      if (!seen.comment.empty()) element["comment"] = seen.comment;
      elements.Set(index++, element);
    }
    return elements;
  }

 private:
  Failure Read(Nfnl& socket) {
    elements_.clear();
    Reader reader(socket, table_);
    Failure failure = reader.Get(NFT_MSG_GETSET, "NFT_MSG_GETSET", NLM_F_ACK,
                                 {{NFTA_SET_TABLE, table_}, {NFTA_SET_NAME, set_}}, [&](const nlmsghdr* answer) {
                                   SetFacts set = DecodeSet(answer);
                                   key_ = std::move(set.key);
                                   data_ = std::move(set.data);
                                 });
    if (failure) return failure;
    if (key_.parts.empty()) return {EOPNOTSUPP, "NFT_MSG_GETSET", table_};  // a key of types that we do not have
    return EachElement(reader, table_, set_, [&](ElementFacts& element) { elements_.push_back(std::move(element)); });
  }

  const std::string table_;
  const std::string set_;
  NftTypes key_;
  NftTypes data_;
  std::vector<ElementFacts> elements_;
};

// Returns a name that was given, checked. The first argument is the family, which has one value.
std::string NameArgument(Input& input, Napi::Value value, const char* what) {
  std::string name = input.Text(value, what);
  if (input.ok() && (name.empty() || name.size() >= NFT_NAME_MAXLEN)) input.Invalid("nft", what);
  return name;
}

}  // namespace

Napi::Value NftTable(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::string table = NameArgument(input, info[1], "table");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<TableJob>(info.Env(), std::move(table)));
}

Napi::Value NftElements(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::string table = NameArgument(input, info[1], "table");
  std::string set = NameArgument(input, info[2], "set");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ElementsJob>(info.Env(), std::move(table), std::move(set)));
}

}  // namespace cleat
