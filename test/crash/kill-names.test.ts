// slow: 30 s, the daemon is killed at each point of each change, and started again
// proving only: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): names, files and an outer publisher.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { names } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('names, files and an outer publisher', names);
