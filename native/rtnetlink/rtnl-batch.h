// rtnl-batch.h: many rtnetlink changes in one system call.
//
// Guarantees:
// - Every message requests an acknowledgement, and each acknowledgement is matched to its request by sequence number.
//   A batch that could not be acknowledged whole fails as a whole (ENOBUFS), it never reports success it did not see.
// - Requests take effect in order. A name is looked up only when no message waits that could give it another meaning.
//
// Limits: a flush holds at most kMaxMessages messages and kBufferSize bytes, so that it fits the default send buffer
// and its acknowledgements fit the default receive buffer (about 270 of 768 bytes each).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "../fd.h"
#include "../node/failure.h"
#include "../node/worker.h"
#include "rtnl-socket.h"

namespace cleat {

class RtnlBatch {
 public:
  // errors has one slot per request, 0 to begin with.
  RtnlBatch(Worker& worker, RtnlSocket& socket, std::vector<int>& errors);

  // Sets the request that the following messages belong to. A request may have several: its errno is the first one.
  void ForRequest(size_t index) { request_ = index; }

  // Adds a message, with header (ifinfomsg, rtmsg, ...) zeroed for the caller to fill; attributes follow with
  // mnl_attr_put*, at most kMaxMessage bytes in all. Valid until the next Add or Flush.
  template <typename Header>
  nlmsghdr* Add(uint16_t type, uint16_t flags, Header** header) {
    nlmsghdr* message = Begin(type, flags);
    *header = static_cast<Header*>(mnl_nlmsg_put_extra_header(message, sizeof(Header)));
    return message;
  }
  // Keeps a descriptor open until the message that mentions it has been sent.
  void Keep(UniqueFd fd) { kept_.push_back(std::move(fd)); }
  // Brings up the link called name in another namespace (a kept descriptor) once the request is done; its errno becomes
  // the request's. Later requests of the flush are done by then: they cannot see that namespace.
  void BringUpAfter(const std::string& name, int netns) { raises_.push_back({request_, name, netns}); }
  // Notes that the message just added may change which link has which name.
  void NamesChange() { names_change_ = true; }

  // Looks up the ifindex of a link, after all messages that were added before. Call it before Add. Returns 0 or errno
  // (ENODEV).
  int IndexOf(const std::string& name, int* index);

  // Sends the messages that wait and reads their acknowledgements.
  void Flush();
  // The failure of the batch as a whole, if any; nothing is sent after it.
  const Failure& failure() const { return failure_; }

 private:
  static constexpr size_t kBufferSize = 32 * 1024;
  static constexpr size_t kMaxMessage = 2 * 1024;
  static constexpr size_t kMaxMessages = 64;

  nlmsghdr* Begin(uint16_t type, uint16_t flags);
  void Close();
  void BringUp();

  struct Raise {
    size_t request;
    std::string name;
    int netns;
  };

  Worker& worker_;
  RtnlSocket& socket_;
  std::vector<int>& errors_;
  size_t request_ = 0;
  std::vector<char> buffer_;
  size_t used_ = 0;             // bytes of finished messages
  nlmsghdr* open_ = nullptr;    // the message being filled, at used_
  std::vector<size_t> owners_;  // request of each message waiting
  std::vector<UniqueFd> kept_;
  std::vector<Raise> raises_;
  uint32_t first_sequence_ = 0;  // of the first message waiting
  bool names_change_ = false;
  Failure failure_;
  // The last name looked up: container set-up looks up the same one over and over.
  std::string known_name_;
  int known_index_ = 0;
};

}  // namespace cleat
