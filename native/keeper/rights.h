// rights.h: what the keeper keeps of root, once its program has been forked off: to write its status, and to end the
// program.
#pragma once

#include "../failure.h"

namespace cleat_keeper {

// The program is not concerned: it was forked off before. See confine.h.
cleat::Failure DropRights();

}  // namespace cleat_keeper
