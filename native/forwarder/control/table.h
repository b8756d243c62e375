// table.h: all published ports of one outside namespace, and the transaction that changes them.
//
// Guarantees: a change is made as a whole or not at all: everything that can be refused (a port that is taken, a
// namespace that is not the one meant) is tried before the first port gets another target or is closed. The same change
// twice has the same outcome. A port that ends also ends what came through it. What came for an owner that the port
// does not belong to any more ends when that owner is removed, or when its namespace is gone. When the last of the
// containers that an owner is bound to has ended, its ports and all that came for it end, without a request.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "../budget.h"
#include "../ports/engine.h"
#include "../ports/port.h"
#include "bond.h"
#include "request.h"

namespace cleat_forwarder {

class Table {
 public:
  Table(Engine* engine, Lanes* lanes, Budget* budget) : engine_(engine), lanes_(lanes), budget_(budget) {}

  // Returns the answer.
  std::string Handle(const Request& request);

  bool empty() const { return ports_.empty(); }
  // Called once a second while there are connections, and once after the last.
  void Tick();
  // Closes all ports, and removes what they have made.
  void End();

 private:
  using Ports = std::map<Key, std::unique_ptr<Port>>;
  using Identity = std::pair<uint64_t, uint64_t>;
  struct Plan;
  // The state of an owner beside its ports, for as long as the owner has anything (budget.h, Account).
  struct Owner {
    std::unique_ptr<Bond> bond;
    // Ports that others have now: what came through them for this owner may go on there.
    std::set<Key> former;
  };

  std::string Change(const Request& request);
  // Lists one owner, or all if it is empty.
  std::string List(const std::string& owner) const;
  // Finds the place of an addition, or fails.
  Failure PlaceOf(const Addition& addition, Plan* plan, std::shared_ptr<Place>* out);
  // Holds on to what a binding names, or finds out that it has ended.
  Failure BondOf(const Binding& binding, Plan* plan);
  void Commit(const Request& request, Plan* plan);
  void Close(Ports::iterator port);
  void Bind(const std::string& owner, std::unique_ptr<Bond> bond);
  // Ends everything of an owner: what it was bound to has ended.
  void EndOwner(const std::string& owner);
  // Returns how many descriptors ports and bonds have.
  size_t Descriptors() const;
  // Drops places, accounts and owners that nothing needs any more.
  void Forget();

  Engine* const engine_;
  Lanes* const lanes_;
  Budget* const budget_;
  Ports ports_;
  // A place is released here, when nothing leads there any more, and not by a lane with its last connection.
  std::map<Identity, std::shared_ptr<Place>> places_;
  std::map<std::string, Owner> owners_;
  int64_t looked_at_ = 0;
};

}  // namespace cleat_forwarder
