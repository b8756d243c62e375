// label.h: the label of SELinux for what programs of others write in the namespace.
#pragma once

#include <string>

namespace cleat_rootless {

// Gives a directory, which what is made in it inherits, the label that iptables may use: a plugin runs iptables, and
// that locks a file in /run, which has been made as the user, with the user's label. Where there is no SELinux nothing
// happens.
//
// Limits: a label that cannot be given fails nothing, because nothing of ours needs it: a filesystem may have none
// (ENOTSUP), a policy may not know it (EINVAL) or may not let this user give it (EACCES).
void GiveLabel(const std::string& directory);

}  // namespace cleat_rootless
