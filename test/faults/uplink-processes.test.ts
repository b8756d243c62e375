// slow: 30 s, programs that hang are given their time
// proving only: 10800
/**
 * A container behind slirp4netns, whose ports the forwarder or slirp4netns itself carries: the processes are killed, or
 * hang, at every moment.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { forwardersOf, keepersOf, signalAll, uplinksOf } from '../harness/programs.ts';
import { effort } from '../harness/proof.ts';
import { during, UPLINK_LIVES, withMate } from '../harness/uplink-lives.ts';

requirePrivateNamespace();

const test = suite('a life with killed and hung programs');
const life = new FaultLife();
const { daemon } = life;

test.before(() => withMate(life));
test.after(() => life.stop());

function killed(pids: typeof uplinksOf): Strike[] {
  return during({ meanwhile: () => signalAll(pids(daemon), 'SIGKILL') });
}

function hung(pids: typeof uplinksOf): Strike[] {
  let stopped: number[] = [];
  return during({
    meanwhile: () => signalAll((stopped = pids(daemon)), 'SIGSTOP'),
    mend: () => signalAll(stopped, 'SIGCONT'),
  });
}

for (const [handler, steps] of Object.entries(UPLINK_LIVES)) {
  const carrier = handler === 'forwarder' ? [forwardersOf] : [];
  const who = [uplinksOf, keepersOf, ...carrier];

  test(`${handler}: the program, its keeper, or its port handler may be killed`, async () => {
    await life.go(`processes killed: ports of ${handler}`, who.flatMap(killed), effort('kills', 220, 1), steps);
  });

  test(`${handler}: one of these processes may hang, and go on later`, async () => {
    await life.go(`processes that hung: ports of ${handler}`, who.flatMap(hung), effort('hangs', 460, 1), steps);
  });
}

test.run();
