// slow: 40 s, each kill plays the scenario from the beginning
// proving only: 3600
/** kill -9 at every failpoint (../harness/crash.ts): a network on several hosts, with a store, and another host that comes and goes. */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { hosts } from './scenarios.ts';

requirePrivateNamespace();
surviveKills('a network on several hosts', hosts);
