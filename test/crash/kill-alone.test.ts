// proving only: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): a container that is the first and last user of everything.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { alone } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('a container that is the first and last user of everything', alone);
