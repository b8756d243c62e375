// link-flags.cc: see link-flags.h.
#include "link-flags.h"

#include <linux/if.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "../fd.h"

namespace cleat {

Failure RaiseLink(const std::string& name) {
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name) return {ENAMETOOLONG, "ioctl(SIOCSIFFLAGS)", name};
  memcpy(request.ifr_name, name.c_str(), name.size());
  // Any socket will do (netdevice(7)); a Unix one is the cheapest to make.
  UniqueFd any(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any) return {errno, "socket", name};
  if (ioctl(any.get(), SIOCGIFFLAGS, &request) != 0) return {errno, "ioctl(SIOCGIFFLAGS)", name};
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return {errno, "ioctl(SIOCSIFFLAGS)", name};
  return {};
}

}  // namespace cleat
