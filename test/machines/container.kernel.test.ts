// slow: 110 s, hundreds of walks are taken on the real kernel, which is compared after every step
// proving: 5400
/**
 * The container machine walked on the real kernel: the walks of container.driven.test.ts with the shipped effects.
 * After each step an auditor that knows nothing of the walk compares kernel, mounts and the container's record; after
 * each walk nothing is left, and at the end the kernel is as it was before.
 *
 * Limits: in npm test every second of as few walks as take every kind of step (a state, an event, the next state) that any walk takes;
 * service/random.test.ts has several containers.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EDGES, isPossible } from '../harness/container-edges.ts';
import { drive, finish, recoverOf } from '../harness/container-driver.ts';
import { titleOf } from '../harness/container-model.ts';
import { VARIANTS } from '../harness/container-variants.ts';
import { kindsOf, WALKS } from '../harness/container-walks.ts';
import { Ground, KernelWorld } from '../harness/kernel-world.ts';
import { assertNone } from '../harness/machines.ts';
import { endWithReport } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { proved } from '../harness/proof.ts';
import { kindsIn, runsOf } from '../harness/cover.ts';

requirePrivateNamespace();

// What programs of others make is in no kernel here: test/external/ has the real ones.
const OURS = Object.keys(VARIANTS).filter((name) => !name.startsWith('external'));
const walks = WALKS.filter(({ variant }) => OURS.includes(variant));
const runs = runsOf(walks);
const KINDS = kindsIn(runs);

const kernel = suite('container on the kernel');
const ground = new Ground();
const before = inspectKernel();
const taken = new Set<string>();
const kinds = new Set<string>();

kernel.before(() => ground.raise());

for (const variant of OURS) {
  kernel(`after each step the kernel agrees with the record: ${variant}`, async () => {
    const objections: string[] = [];
    for (const { steps, failing, alone } of runs.filter((run) => run.variant === variant)) {
      const run = await drive(VARIANTS[variant]!, steps, failing, new KernelWorld(ground));
      if (alone) await recoverOf(run);
      await finish(run);
      objections.push(...(await ground.findings()).map((left) => `left behind in the kernel: ${left}`));
      for (const edge of run.taken) taken.add(edge);
      for (const kind of kindsOf(steps)) kinds.add(kind);
      for (const objection of run.objections) objections.push(`${objection}\n    ${failing}: ${titleOf(steps)}`);
    }
    assertNone(objections);
  });
}

// Walks that failed once, and that are kept.

const found = (what: string, variant: string, end: RegExp) =>
  kernel(what, async () => {
    const walk = WALKS.find(({ variant: of, steps }) => of === variant && end.test(titleOf(steps)));
    assert.ok(walk, 'there is no such walk any more');
    const run = await drive(VARIANTS[variant]!, walk.steps, 'failed', new KernelWorld(ground));
    await finish(run);
    assertNone(run.objections);
  });

found(
  'the auditor knows where ports lead while the primary network changes',
  'primary',
  / up -connect-> connecting\.leasing -done:lease-> connecting\.attaching$/,
);
found(
  'the auditor knows where ports lead while their network goes',
  'forced',
  / up -disconnect-> disconnecting\.diverting -done:publish-> disconnecting\.unnaming$/,
);
found(
  'another address in the same subnet does not go with the one that it replaces, nor does the way out',
  'adjustedAlone',
  / up -adjust-> adjusting\.revising -done:attachment=attached-> up$/,
);

kernel('every kind of step was taken, and the kernel is as it was found', async () => {
  assert.is(kinds.size, KINDS.size);
  await ground.lower();
  await assertComesBackTo(before, () => inspectKernel());
  proved('walks of the container machine on the real kernel', runs.length);
  proved(`transitions of ${EDGES.filter(isPossible).length} that can be, taken on the real kernel`, taken.size);
  proved('states compared with the real kernel', ground.looks);
});

endWithReport();
kernel.run();
