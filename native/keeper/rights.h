// rights.h: drops the rights that the keeper does not need, once its program has been forked off: it only writes its
// status, and ends the program.
#pragma once

#include "../node/failure.h"

namespace cleat_keeper {

// The program is not affected: it was forked off before. See confine.h.
cleat::Failure DropRights();

}  // namespace cleat_keeper
