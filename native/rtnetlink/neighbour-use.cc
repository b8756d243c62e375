// neighbour-use.cc: Outside.neighbourUse: how full the kernel's neighbour tables are.
//
// For: there is one table per family for all namespaces of the machine; while it is full, nobody can find a new
// neighbour (neigh_alloc in net/core/neighbour.c, "neighbour table overflow").
//
// How: RTM_GETNEIGHTBL answers with the table first, and then with the parameters of every link of the namespace. This
// reads only the first part of the answer and closes the socket, so that it costs the same with a thousand links.
#include "neighbour-use.h"

#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <memory>

#include "../netlink/nlattr.h"
#include "../node/input.h"
#include "rtnl-socket.h"

namespace cleat {
namespace {

struct Table {
  int family;
  uint32_t entries = 0;
  uint32_t maximum = 0;
  uint64_t allocated = 0;
};

class UseJob : public Job {
 public:
  using Job::Job;

  Failure Execute(Worker&) override {
    for (Table& table : tables_) {
      if (Failure failure = Read(&table)) return failure;
    }
    return {};
  }

  Napi::Value Resolve(Napi::Env env) override {
    Napi::Array result = Napi::Array::New(env, tables_.size());
    for (uint32_t i = 0; i < tables_.size(); i++) {
      Napi::Object table = Napi::Object::New(env);
      table.Set("family", tables_[i].family == AF_INET6 ? 6 : 4);
      table.Set("entries", tables_[i].entries);
      table.Set("maximum", tables_[i].maximum);
      table.Set("allocated", static_cast<double>(tables_[i].allocated));
      result.Set(i, table);
    }
    return result;
  }

 private:
  static Failure Read(Table* table) {
    RtnlSocket socket;
    if (Failure failure = socket.Open()) return failure;
    alignas(nlmsghdr) char buffer[64] = {};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer);
    request->nlmsg_type = RTM_GETNEIGHTBL;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    auto* header = static_cast<ndtmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ndtmsg)));
    header->ndtm_family = static_cast<uint8_t>(table->family);
    if (Failure failure = socket.Send(request, request->nlmsg_len, "RTM_GETNEIGHTBL")) return failure;
    // The first message is the table, or the end of the dump if the kernel does not have this family.
    return socket.Receive("RTM_GETNEIGHTBL", [&](const nlmsghdr* message) {
      if (message->nlmsg_type == RTM_NEWNEIGHTBL) Decode(message, table);
      return false;
    });
  }

  static void Decode(const nlmsghdr* message, Table* table) {
    EachAttribute(message, sizeof(ndtmsg), [&](const nlattr* attr) {
      switch (mnl_attr_get_type(attr)) {
        case NDTA_THRESH3:
          table->maximum = NumberOf<uint32_t>(attr).value_or(0);
          break;
        case NDTA_CONFIG:
          if (const auto config = NumberOf<ndt_config>(attr)) table->entries = config->ndtc_entries;
          break;
        case NDTA_STATS:
          if (const auto statistics = NumberOf<ndt_stats>(attr)) table->allocated = statistics->ndts_allocs;
          break;
      }
    });
  }

  std::array<Table, 2> tables_{Table{AF_INET}, Table{AF_INET6}};
};

}  // namespace

Napi::Value NeighbourUse(const Napi::CallbackInfo& info, Worker& worker) {
  return worker.Submit(std::make_unique<UseJob>(info.Env()));
}

}  // namespace cleat
