// slow: 30 s, the daemon is killed at each point of each change, and started again
// proving: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): changes of running containers: primary networks, full reloads,
 * ports that move, held namespaces.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { live } from './scenarios.ts';

requirePrivateNamespace();

surviveKills(
  'changes of running containers: primary networks, full reloads, ports that change hands, held namespaces',
  live,
);
