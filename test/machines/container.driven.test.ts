// timeout: 600
// proving: 1200
/**
 * Every edge of the shipped container machine, walked as an actor whose effects change a world of strings: after each step
 * it is where the pure machine is, and the world is what its context says. At the end of each walk it is torn down at
 * once, or first left alone until nothing more can come of it. An effect that fails has done nothing, or all of it.
 *
 * Limits: in npm test one walk of each variant for each kind of step. One container; what several do to each other is in container.commands.test.ts.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EDGES, isPossible } from '../harness/container-edges.ts';
import { drive, finish, recoverOf } from '../harness/container-driver.ts';
import { titleOf } from '../harness/container-model.ts';
import { VARIANTS } from '../harness/container-variants.ts';
import { kindsOf, WALKS, type ContainerWalk } from '../harness/container-walks.ts';
import { oneOfEach } from '../harness/cover.ts';
import { none } from '../harness/machines.ts';
import { proved } from '../harness/proof.ts';

const driven = suite('container driven');

/** How a walk ends: by what kind of step, and which event. */
const endOf = ({ steps }: ContainerWalk) => `${kindsOf(steps).at(-1)} ${JSON.stringify(steps.at(-1)?.event)}`;

const taken = new Set<string>();
let walked = 0;
const nothing = () => Promise.resolve();
/** Where nothing more can come of it the two are one, and where it is being torn down already. */
const endingsOf = (last: string) =>
  /^(up|created|gone)$/.test(last)
    ? [nothing]
    : /^(tearingDown|draining|releasing|teardownFailed)/.test(last)
      ? [recoverOf]
      : [nothing, recoverOf];
const FAILURE = /^xstate\.error|^refused/;
const isStuck = (output: unknown) => (output as { outcome?: string } | undefined)?.outcome === 'stuck';

for (const [name, variant] of Object.entries(VARIANTS)) {
  for (const failing of ['failed', 'late'] as const) {
    driven(
      `driven with effects: ${name}, an effect that fails has ${failing === 'late' ? '' : 'not '}happened`,
      async () => {
        const objections: string[] = [];
        const walks = WALKS.filter((walk) => walk.variant === name);
        for (const { steps } of oneOfEach(walks, endOf)) {
          const fails = steps.some(({ event }) => FAILURE.test(event.type) || isStuck(event.output));
          if (failing === 'late' && !fails) continue; // the same as before
          for (const end of endingsOf(steps.at(-1)?.name ?? '')) {
            const run = await drive(variant, steps, failing);
            await end(run);
            await finish(run);
            walked++;
            for (const edge of run.taken) taken.add(edge);
            for (const objection of run.objections) objections.push(`${objection}\n    ${titleOf(steps)}`);
          }
        }
        none(objections);
      },
    );
  }
}

driven('every transition was taken, but for those that cannot be', () => {
  const impossible = EDGES.filter((edge) => !isPossible(edge));
  const missed = new Set(EDGES.filter((edge) => !taken.has(edge)));
  assert.equal([...missed].sort(), impossible.sort());
  proved('walks of the container machine with effects on a world of strings', walked);
  proved(`transitions taken, of ${EDGES.length}; ${impossible.length} cannot be`, taken.size);
});

driven.run();
