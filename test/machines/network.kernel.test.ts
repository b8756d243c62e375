// slow: 60 s, each walk is walked on the real kernel, and compared after every step
// proving: 7200
/**
 * The network's machine walked on the real kernel: the walks of network.paths.test.ts with the shipped effects and the
 * real firewall below. After each step the kernel is compared with what the last effect should have made of it, and at
 * rest with the machine's definition; after each walk nothing is left.
 *
 * Limits: those of network-ground.ts; in npm test every second of as few walks as take every kind of step that any walk takes.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { bridgeMac } from '../../plan/addresses/neighbours.ts';
import { networkMachine, type NetworkInput } from '../../machines/network.ts';
import { kindsIn, runsOf } from '../harness/cover.ts';
import { assertNone } from '../harness/machines.ts';
import { DAMAGES, NetworkGround } from '../harness/network-ground.ts';
import { askers, SIX, WALKS, WEB } from '../harness/network-model.ts';
import { endWithReport } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { proved } from '../harness/proof.ts';
import { Driven, kindsOf, titleOf } from '../harness/shared-driver.ts';

requirePrivateNamespace();

const ALL = WALKS.flatMap(({ name, input, walks }) =>
  walks.map((steps) => ({ name, input, steps, kinds: new Set(kindsOf(steps)) })),
);
const RUNS = runsOf(ALL);

const kernel = suite('network on the kernel');
const before = inspectKernel();
const ground = new NetworkGround();
const kinds = new Set<string>();

kernel.before(() => ground.prepare());

/** The kernel that a daemon finds if it starts with this snapshot. */
function leftBy({ adopted, previous, recovering }: NetworkInput, n: number) {
  if (adopted.has('a')) return previous ?? WEB;
  // A crash has left everything of a bridge without users, or nothing.
  return recovering && n % 2 === 0 ? WEB : null;
}

/** Objections to one walk, until all have left and nothing is left. */
async function walk({ input, steps, failing, alone }: (typeof RUNS)[number], n: number): Promise<string[]> {
  await ground.begin(leftBy(input, n), [...input.adopted.keys()]);
  const driven = new Driven(networkMachine, input, {
    failing,
    happens: (id, how, on) => ground.happens(id, how, on),
    before: (event, state) => ground.before(event, state),
    look: (state) => ground.look(state),
  });
  await driven.walk(steps);
  if (alone) await driven.rest();
  for (const owner of ['a', 'b'] as const) await driven.tell({ type: 'leave', owner, from: askers[owner].ref });
  await driven.rest();
  driven.actor.stop();
  return driven.objections.map((text) => `${text}\n    ${failing}: ${titleOf(steps)}`);
}

for (const { name } of WALKS) {
  kernel(`after each step the bridge agrees with its definition: ${name}`, async () => {
    const objections: string[] = [];
    for (const [n, run] of RUNS.filter((one) => one.name === name).entries()) {
      objections.push(...(await walk(run, n)));
      for (const kind of run.kinds) kinds.add(kind);
    }
    assertNone(objections);
  });
}

// Walks that failed once, and that are kept.

kernel('a bridge has the MTU of its definition, whatever MTU its ports have', () => {
  assert.ok(ground.pictures.has('six with a', 'link cl-web mtu: 1400'));
});

kernel(
  'a bridge that could not be lowered keeps nothing of its definition when it is raised with another',
  async () => {
    await ground.begin({ ...SIX, subnets: [{ subnet: '10.89.1.0/24', gateway: '10.89.1.1' }] }, []);
    await ground.happens('raiseNetwork', 'done', { definition: WEB, mac: bridgeMac(WEB.id), outside: null });
    assertNone(await ground.compare());
    await ground.happens('lowerNetwork', 'done', { definition: WEB, mac: bridgeMac(WEB.id), outside: null });
    await ground.happens('releaseFirewall', 'done', null);
    assertNone(await ground.compare());
  },
);

kernel('an update that follows a failed rollback has its own rules', async () => {
  const end = 'outOfSync -update u-> revising -done:reviseNetwork-> propagating';
  const again = ALL.find(({ name, steps }) => name === 'update at rest' && titleOf(steps).endsWith(end));
  assert.ok(again, 'there is no such walk any more');
  assertNone(await walk({ ...again, failing: 'failed', alone: true }, 0));
});

kernel('what others remove of a bridge that is behind its definition is restored with the next attempt', async () => {
  const end = 'outOfSync -drifted-> revising';
  const again = ALL.find(({ name, steps }) => name === 'edited' && titleOf(steps).endsWith(end));
  assert.ok(again, 'there is no such walk any more');
  for (let n = 0; n < DAMAGES.length; n++) assertNone(await walk({ ...again, failing: 'failed', alone: true }, n));
});

kernel('every kind of step was taken, and the kernel is as it was found', async () => {
  assert.is(kinds.size, kindsIn(RUNS).size);
  await assertComesBackTo(before, () => inspectKernel());
  proved('walks of the network machine on the real kernel', RUNS.length);
  proved('pictures of a bridge compared with the real kernel', ground.pictures.looks);
});

endWithReport();
kernel.run();
