// proving: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): a network that changes under its containers, and one that cannot.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { update } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('a network that changes under its containers, and one that cannot', update);
