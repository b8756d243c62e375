// slow: 40 s, thousands of walks are driven with effects
// proving: 1200
/**
 * Every edge of the shipped container machine, walked as an actor whose effects change a world of strings: after each
 * step it is in the state of the pure machine, and the world is what its context says. At the end of each walk it is
 * torn down at once, or after it has come to rest. An effect that fails has done nothing, or all of it.
 *
 * Limits: in npm test one walk of each variant for each kind of step. One container; container.commands.test.ts has
 * several.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EDGES, isPossible } from '../harness/container-edges.ts';
import { drive, finish, recoverOf } from '../harness/container-driver.ts';
import { titleOf } from '../harness/container-model.ts';
import { VARIANTS } from '../harness/container-variants.ts';
import { kindsOf, WALKS, type ContainerWalk } from '../harness/container-walks.ts';
import { oneOfEach } from '../harness/cover.ts';
import { assertNone } from '../harness/machines.ts';
import { proved } from '../harness/proof.ts';

const driven = suite('container driven');

/** How a walk ends: the kind of its last step, and the event. */
const endOf = ({ steps }: ContainerWalk) => `${kindsOf(steps).at(-1)} ${JSON.stringify(steps.at(-1)?.event)}`;

const taken = new Set<string>();
let walked = 0;
const nothing = () => Promise.resolve();
/** Both ends are the same if the walk is already at rest, or is being torn down. */
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
      `every walk with effects keeps the invariants: ${name}, an effect that fails has ${failing === 'late' ? '' : 'not '}happened`,
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
        assertNone(objections);
      },
    );
  }
}

driven('every transition was taken, except those that cannot be', () => {
  const impossible = EDGES.filter((edge) => !isPossible(edge));
  const missed = new Set(EDGES.filter((edge) => !taken.has(edge)));
  assert.equal([...missed].sort(), impossible.sort());
  proved('walks of the container machine with effects on a world of strings', walked);
  proved(`transitions taken, of ${EDGES.length}; ${impossible.length} cannot be`, taken.size);
});

driven.run();
