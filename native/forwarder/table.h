// table.h: all published ports of one outside namespace, and the transaction that changes them.
//
// Guarantees: a change is made as a whole or not at all: everything that can be refused (a port that is taken, a
// namespace that is not the one meant) happens before the first port is led elsewhere or closed. The same change twice
// has the same outcome. A port ends what came through it; what has come for an owner that the port is not of any more
// ends when that owner is taken away, or its namespace has gone. When the last of the processes that an owner is bound
// to has ended, its ports and all that came for it end, without a request.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "bond.h"
#include "budget.h"
#include "engine.h"
#include "port.h"
#include "request.h"

namespace cleat_forwarder {

class Table {
 public:
  Table(Engine* engine, Lanes* lanes, Budget* budget) : engine_(engine), lanes_(lanes), budget_(budget) {}

  // The answer.
  std::string Handle(const Request& request);

  bool empty() const { return ports_.empty(); }
  // Once a second, while there are connections, and once after the last.
  void Tick();
  // All ports go, and what they have made.
  void End();

 private:
  using Ports = std::map<Key, std::unique_ptr<Port>>;
  using Identity = std::pair<uint64_t, uint64_t>;
  struct Plan;
  // Of an owner, beside its ports: for as long as there is anything of it (budget.h, Account).
  struct Owner {
    std::unique_ptr<Bond> bond;
    // Ports that were led to others: what came for it before may go on there.
    std::set<Key> former;
  };

  std::string Change(const Request& request);
  // Of one owner, or of all when it is empty.
  std::string List(const std::string& owner) const;
  // Find, or find out that it is not to be had.
  Failure PlaceOf(const Addition& addition, Plan* plan, std::shared_ptr<Place>* place);
  // Hold on to the processes of a binding, or find out that they have ended.
  Failure BondOf(const Binding& binding, Plan* plan);
  void Commit(const Request& request, Plan* plan);
  void Close(Ports::iterator port);
  void Bind(const std::string& owner, std::unique_ptr<Bond> bond);
  // The processes that it was bound to have ended.
  void EndOwner(const std::string& owner);
  // How many descriptors ports and bonds have.
  size_t Descriptors() const;
  // Places, accounts and owners that nothing needs any more.
  void Forget();

  Engine* const engine_;
  Lanes* const lanes_;
  Budget* const budget_;
  Ports ports_;
  // Let go of here, when nothing leads there any more: not by a lane with its last connection.
  std::map<Identity, std::shared_ptr<Place>> places_;
  std::map<std::string, Owner> owners_;
  int64_t looked_at_ = 0;
};

}  // namespace cleat_forwarder
