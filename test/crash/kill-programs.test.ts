// slow: 40 s, the daemon is killed at each point of the life of programs that start slowly
// proving only: 3600
// as user: proving
/** kill -9 at every failpoint (../harness/crash.ts): uplink programs, and the handlers that carry ports to them. */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { programs } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('uplink programs, and the handlers that carry ports to them', programs);
