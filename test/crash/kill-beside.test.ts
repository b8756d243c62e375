// proving only: 3600
// as user: proving
/**
 * kill -9 at every failpoint (../harness/crash.ts): the life of a container with every kind of event in it, beside another one.
 */
import { surviveKills } from '../harness/crash.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { beside } from './scenarios.ts';

requirePrivateNamespace();

surviveKills('the life of a container with every kind of event in it, beside another one', beside);
