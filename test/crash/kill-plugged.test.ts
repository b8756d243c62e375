// slow: 50 s, each of its steps runs programs
// proving only: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): a program of others makes an attachment, checks it, and removes it.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { plugged } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('a program of others makes an attachment, checks it, and removes it', plugged);
