// slow: 40 s, firewalld, which is Python, is told of each change, and each kill is two lives of a daemon
// proving only: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): a network on a host with firewalld, in whose zone nothing of ours is left.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { zones } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('a network on a host with firewalld', zones);
