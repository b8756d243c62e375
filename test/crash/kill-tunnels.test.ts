// slow: 40 s, each kill plays the scenario from the beginning
// proving only: 3600
/** kill -9 at every failpoint (../harness/crash.ts): a network on several hosts by WireGuard, whose link a helper carries that outlives the daemon. */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { openTun } from '../harness/tun.ts';
import { tunnels } from './scenarios.ts';

requirePrivateNamespace();
openTun();
surviveKills('a network on several hosts by WireGuard', tunnels);
