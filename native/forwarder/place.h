// place.h: the network namespace that a published port leads into, and sockets made in it.
//
// Guarantees: a socket is made in exactly the namespace that was named by device and inode, or not at all: the path is
// opened and compared each time. A namespace is not kept alive by its ports, only by connections into it: no descriptor
// of it stays open. The thread is back in its own namespace before anything else happens; where it cannot come back,
// the process ends. Limits: a path that leads to a new namespace with the inode number of the old one is taken for the
// old one.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "../failure.h"
#include "../fd.h"
#include "budget.h"
#include "endpoint.h"

namespace cleat_forwarder {

using cleat::Failure;
using cleat::UniqueFd;

// Once, before any other thing here: the namespace that the process is in is the one to come back to. It leaves and
// comes back, to see that it may.
Failure RememberHome();

class Place {
 public:
  Place(std::string path, uint64_t dev, uint64_t ino) : path_(std::move(path)), dev_(dev), ino_(ino) {}
  // Takes away what KeepSources has made, if the namespace is still there.
  ~Place();
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  const std::string& path() const { return path_; }
  uint64_t dev() const { return dev_; }
  uint64_t ino() const { return ino_; }
  // The same namespace, by another name.
  void Rename(const std::string& path) { path_ = path; }

  // Whether the path leads there now.
  Failure Check() const;

  // Have the namespace let clients keep their addresses (keep.h), as far as it goes. May be called again.
  void KeepSources();
  bool keeps(sa_family_t family) const { return family == AF_INET ? keeps_v4_ : keeps_v6_; }

  // A socket in there, O_NONBLOCK and O_CLOEXEC.
  Failure MakeSocket(sa_family_t family, int type, UniqueFd* socket) const;

 private:
  Failure Open(UniqueFd* netns) const;

  std::string path_;
  const uint64_t dev_;
  const uint64_t ino_;
  bool keeps_v4_ = false;
  bool keeps_v6_ = false;
};

// Where a published port leads. Connections hold on to theirs when the port is led elsewhere.
struct Route {
  std::shared_ptr<Share> share;
  std::shared_ptr<Place> place;
  Endpoint to;

  const std::string& owner() const { return share->owner->name; }
};

}  // namespace cleat_forwarder
