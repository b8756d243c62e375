// timeout: 600
// proving: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): programs that lead out, and what carries ports to them.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { programs } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('programs that lead out, and what carries ports to them', programs, 7);
