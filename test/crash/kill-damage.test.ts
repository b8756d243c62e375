// timeout: 600
// proving: 3600
/**
 * kill -9 at every failpoint (../harness/crash.ts): what others have taken away, while it is put back.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { damage } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('what others have taken away, while it is put back', damage, 7);
