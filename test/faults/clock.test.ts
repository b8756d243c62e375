// proving only: 3600
/**
 * The clock of the machine is set, forward and back, at every netlink request of a container's life: nothing depends on
 * it.
 */
import { suite } from 'uvu';
import { FaultLife } from '../harness/fault-life.ts';
import type { Strike } from '../harness/faults.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { effort } from '../harness/proof.ts';

requirePrivateNamespace();

const test = suite('a life in which the clock is set');
const life = new FaultLife();
const DAY_S = 86_400;

test.before(() => life.start());
test.after(() => life.stop());

test('the clock may jump a day forward, a day back, and to the year 1970', async () => {
  const to = (seconds: number): Strike => ({
    kind: 'request',
    action: 'hold',
    meanwhile: () => life.faults.setClock(seconds),
    harmless: true,
  });
  await life.go(
    'clocks set',
    [to(DAY_S), to(-DAY_S), to(-Math.floor(Date.now() / 1000)), to(0)],
    effort('clocks', 440, 1),
  );
});

test.run();
