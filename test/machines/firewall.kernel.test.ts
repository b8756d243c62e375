// proving: 3600
/**
 * The firewall's machine walked on the real kernel: the walks of firewall.paths.test.ts with the shipped effects. After
 * each step table and switches are compared with what the last effect should have made of them, and at rest with the
 * machine's context; after each walk both are as they were found.
 *
 * Limits: those of firewall-ground.ts; in npm test every second of as few walks as take every kind of step that any walk takes.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { firewallMachine } from '../../machines/firewall.ts';
import { kindsIn, runsOf } from '../harness/cover.ts';
import { FirewallGround } from '../harness/firewall-ground.ts';
import { askers, WALKS } from '../harness/firewall-model.ts';
import { assertNone } from '../harness/machines.ts';
import { endWithReport } from '../harness/native.ts';
import { assertComesBackTo, inspectKernel } from '../harness/picture.ts';
import { requirePrivateNamespace } from '../harness/private.ts';
import { proved } from '../harness/proof.ts';
import { Driven, kindsOf, titleOf, type Step } from '../harness/shared-driver.ts';

requirePrivateNamespace();

/** The real effects decide their own outputs. */
const unanswered = ({ event: { output: _model, ...event }, state }: Step): Step => ({ event, state });

const ALL = WALKS.flatMap(({ name, walks }) =>
  walks.map((steps) => ({ name, steps: steps.map(unanswered), kinds: new Set(kindsOf(steps)) })),
);
const RUNS = runsOf(ALL);

const kernel = suite('firewall on the kernel');
const before = inspectKernel();
const ground = new FirewallGround();
const kinds = new Set<string>();

kernel.before(() => ground.prepare());

for (const { name, input } of WALKS) {
  kernel(`after each step the kernel agrees with the machine: ${name}`, async () => {
    const objections: string[] = [];
    for (const { steps, failing, alone, kinds: of } of RUNS.filter((run) => run.name === name)) {
      const found = await ground.begin(input.adopted, input.recorded, input.found !== null);
      const driven = new Driven(
        firewallMachine,
        { ...input, found },
        {
          failing,
          happens: (id, how, on) => ground.happens(id, how, on),
          before: (event, state) => ground.before(event, state),
          look: (state) => ground.look(state),
        },
      );
      await driven.walk(steps);
      if (alone) await driven.rest();
      for (const owner of ['a', 'b'] as const) await driven.tell({ type: 'release', owner, from: askers[owner].ref });
      await driven.rest();
      driven.actor.stop();
      objections.push(...driven.objections.map((text) => `${text}\n    ${failing}: ${titleOf(steps)}`));
      for (const kind of of) kinds.add(kind);
    }
    assertNone(objections);
  });
}

kernel('every kind of step was taken, and the kernel is as it was found', async () => {
  assert.is(kinds.size, kindsIn(RUNS).size);
  await ground.end();
  await assertComesBackTo(before, () => inspectKernel());
  proved('walks of the firewall machine on the real kernel', RUNS.length);
  proved('pictures of the table and the switches compared with the real kernel', ground.pictures.looks);
});

endWithReport();
kernel.run();
