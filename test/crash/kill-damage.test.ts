// proving only: 3600
// as user: proving
/** kill -9 at every failpoint (../harness/crash.ts), while the daemon restores what others have removed. */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { damage } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('removals by others, while they are repaired', damage);
