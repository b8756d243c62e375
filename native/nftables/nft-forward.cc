// nft-forward.cc: Outside.nftForwardDrops: finds chains of any table that drop forwarded packets unless a rule accepts
// them.
//
// Guarantees: a result is of one generation of the ruleset. Only the rules of tables that have such a chain are dumped.
// Limits: rules are not evaluated: the result says which names appear in the rules of the table.
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../node/input.h"
#include "nfnl.h"
#include "nft-decode.h"
#include "nft.h"

namespace cleat {
namespace {

struct Drop {
  ChainFacts chain;
  std::set<std::string> named;
};

class ForwardDropsJob : public Job {
 public:
  ForwardDropsJob(Napi::Env env, std::vector<std::string> names) : Job(env), names_(std::move(names)) {}

  Failure Execute(Worker& worker) override {
    return UntilConsistent("ruleset", [&] { return Read(worker.nfnl()); });
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array all = Napi::Array::New(env);
    for (const Drop& drop : drops_) {
      Napi::Array named = Napi::Array::New(env);
      for (const std::string& name : drop.named) named.Set(named.Length(), name);
      Napi::Object object = Napi::Object::New(env);
      object["family"] = drop.chain.family == NFPROTO_INET ? "inet" : drop.chain.family == NFPROTO_IPV4 ? "ip" : "ip6";
      object["table"] = drop.chain.table;
      object["chain"] = drop.chain.name;
      object["named"] = named;
      all.Set(all.Length(), object);
    }
    return all;
  }

 private:
  Failure Read(Nfnl& socket) {
    drops_.clear();
    generation_.reset();
    Failure failure =
        Dump(socket, NFT_MSG_GETCHAIN, "NFT_MSG_GETCHAIN", NFPROTO_UNSPEC, {}, [&](const nlmsghdr* answer) {
          ChainFacts chain = DecodeChain(answer);
          const bool internet =
              chain.family == NFPROTO_INET || chain.family == NFPROTO_IPV4 || chain.family == NFPROTO_IPV6;
          if (internet && chain.hook == NF_INET_FORWARD && chain.policy == NF_DROP) drops_.push_back({chain, {}});
        });
    for (size_t i = 0; i < drops_.size() && !failure; i++) {
      Drop& drop = drops_[i];
      failure = Dump(socket, NFT_MSG_GETRULE, "NFT_MSG_GETRULE", drop.chain.family, drop.chain.table,
                     [&](const nlmsghdr* answer) {
                       if (DecodeRule(answer).table != drop.chain.table) return;
                       const std::string bytes(reinterpret_cast<const char*>(answer), answer->nlmsg_len);
                       for (const std::string& name : names_) {
                         // A rule that compares an interface name holds it between the NUL that ends an attribute's
                         // header and its own NUL.
                         if (bytes.find('\0' + name + '\0') != std::string::npos) drop.named.insert(name);
                       }
                     });
    }
    return failure;
  }

  Failure Dump(Nfnl& socket, uint16_t type, const char* name, int family, const std::string& table,
               const Nfnl::Handler& handler) {
    char buffer[2048];
    nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer, type, static_cast<uint16_t>(family), NLM_F_DUMP, 0);
    if (!table.empty()) mnl_attr_put_strz(request, NFTA_RULE_TABLE, table.c_str());
    bool mixed = false;
    Failure failure = socket.Request(request, name, table, [&](const nlmsghdr* answer) {
      const std::optional<uint16_t> generation = GenerationOf(answer);
      if (generation_ && generation_ != generation) mixed = true;
      generation_ = generation;
      handler(answer);
    });
    return !failure && mixed ? Failure{EINTR, name, table} : failure;
  }

  const std::vector<std::string> names_;
  std::optional<uint16_t> generation_;
  std::vector<Drop> drops_;
};

}  // namespace

Napi::Value NftForwardDrops(const Napi::CallbackInfo& info, Worker& worker) {
  Input input(info.Env());
  std::vector<std::string> names = input.Texts(info[0], "names");
  if (!input.ok()) return input.Rejection();
  return worker.Submit(std::make_unique<ForwardDropsJob>(info.Env(), std::move(names)));
}

}  // namespace cleat
