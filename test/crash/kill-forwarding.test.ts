// proving only: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): forwarding comes and goes while a program holds the firewall.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwarding } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('forwarding comes and goes while a program holds the firewall', forwarding);
