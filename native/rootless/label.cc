// label.cc: see label.h.
#include "label.h"

#include <sys/xattr.h>
#include <unistd.h>

namespace cleat_rootless {

namespace {

// There if the kernel has SELinux and a policy is loaded (selinux(8)).
constexpr char kSelinux[] = "/sys/fs/selinux/enforce";
constexpr char kLabel[] = "system_u:object_r:iptables_var_run_t:s0";

}  // namespace

void GiveLabel(const std::string& directory) {
  if (access(kSelinux, F_OK) != 0) return;
  [[maybe_unused]] int given = setxattr(directory.c_str(), "security.selinux", kLabel, sizeof kLabel, 0);
}

}  // namespace cleat_rootless
