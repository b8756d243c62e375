// rtnl-batch.cc: see rtnl-batch.h.
#include "rtnl-batch.h"

#include <linux/netlink.h>

#include <cerrno>

#include "../netlink/link-flags.h"
#include "../netlink/nlattr.h"

namespace cleat {

RtnlBatch::RtnlBatch(Worker& worker, RtnlSocket& socket, std::vector<int>& errors)
    : worker_(worker), socket_(socket), errors_(errors), buffer_(kBufferSize) {}

void RtnlBatch::Close() {
  if (open_ == nullptr) return;
  used_ += MNL_ALIGN(open_->nlmsg_len);
  open_ = nullptr;
}

nlmsghdr* RtnlBatch::Begin(uint16_t type, uint16_t flags) {
  Close();
  if (used_ + kMaxMessage > kBufferSize || owners_.size() == kMaxMessages) Flush();
  uint32_t sequence = socket_.NextSequence();
  if (owners_.empty()) first_sequence_ = sequence;
  owners_.push_back(request_);
  open_ = mnl_nlmsg_put_header(buffer_.data() + used_);
  open_->nlmsg_type = type;
  open_->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  open_->nlmsg_seq = sequence;
  return open_;
}

int RtnlBatch::IndexOf(const std::string& name, int* index) {
  if (names_change_) Flush();
  if (known_index_ == 0 || known_name_ != name) {
    if (int error = socket_.IndexOf(name, &known_index_)) {
      known_index_ = 0;
      return error;
    }
    known_name_ = name;
  }
  *index = known_index_;
  return 0;
}

void RtnlBatch::Flush() {
  Close();
  size_t left = owners_.size();
  if (left != 0 && !failure_) {
    failure_ = socket_.Send(buffer_.data(), used_, "NETLINK_ROUTE");
    if (!failure_) {
      failure_ = socket_.Receive("NETLINK_ROUTE", [&](const nlmsghdr* header) {
        // Unsigned difference: correct across the wrap, and huge for a sequence number that is not ours.
        size_t offset = header->nlmsg_seq - first_sequence_;
        if (header->nlmsg_type != NLMSG_ERROR || offset >= owners_.size()) return true;
        int error = ErrorOf(header);
        int& slot = errors_[owners_[offset]];
        if (slot == 0) slot = error;
        return --left != 0;
      });
    }
  }
  if (!failure_) BringUp();
  owners_.clear();
  raises_.clear();
  kept_.clear();
  used_ = 0;
  names_change_ = false;
  known_index_ = 0;
}

void RtnlBatch::BringUp() {
  for (const Raise& raise : raises_) {
    int& slot = errors_[raise.request];
    if (slot != 0) continue;
    slot = worker_.Inside(raise.netns, raise.name, [&] { return RaiseLink(raise.name); }).error;
  }
}

}  // namespace cleat
