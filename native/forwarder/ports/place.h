// place.h: the network namespace that a published port leads into, and sockets made in it.
//
// Guarantees: a socket is made in exactly the namespace that was named by device and inode, or not at all: the path is
// opened and compared each time. Connections into a namespace keep it alive, its ports do not: no descriptor of it
// stays open. The thread is back in its own namespace before anything else happens; if it cannot come back, the process
// ends. Where it may not come back (a forwarder of an ordinary user), another thread goes. Limits: a path that leads to
// a new namespace with the inode number of the old one is taken for the old one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "../../fd.h"
#include "../../node/failure.h"
#include "../budget.h"
#include "../endpoint.h"

namespace cleat_forwarder {

using cleat::Failure;
using cleat::UniqueFd;

// Remembers the namespace that the process is in as the one to come back to, and enters it, to see whether it may.
// Called once, before anything else here.
Failure RememberHome();

class Place {
 public:
  Place(std::string path, uint64_t dev, uint64_t ino) : path_(std::move(path)), dev_(dev), ino_(ino) {}
  // Removes what KeepSources has made, if the namespace is still there.
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const std::string& path() const { return path_; }
  uint64_t dev() const { return dev_; }
  uint64_t ino() const { return ino_; }
  // Sets another path of the same namespace.
  void Rename(const std::string& path) { path_ = path; }

  // Fails if the path does not lead there now.
  Failure Check() const;

  // Prepares the namespace for clients to keep their addresses (keep.h), as far as it goes. May be called again.
  void KeepSources();
  bool keeps(sa_family_t family) const { return family == AF_INET ? keeps_v4_ : keeps_v6_; }

  // Makes a socket in the namespace, O_NONBLOCK and O_CLOEXEC.
  Failure MakeSocket(sa_family_t family, int type, UniqueFd* out) const;

 private:
  Failure Open(UniqueFd* netns) const;

  std::string path_;
  const uint64_t dev_;
  const uint64_t ino_;
  bool keeps_v4_ = false;
  bool keeps_v6_ = false;
};

// The target of a published port. Connections keep theirs when the port gets another one.
struct Route {
  std::shared_ptr<Share> share;
  std::shared_ptr<Place> place;
  Endpoint to;

  const std::string& owner() const { return share->owner->name; }
};

}  // namespace cleat_forwarder
