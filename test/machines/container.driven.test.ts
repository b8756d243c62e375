/**
 * Every edge of the shipped container machine, walked as an actor whose effects change a world of strings: after each step
 * it is where the pure machine is, and the world is what its context says. At the end of each walk it is torn down at
 * once, or first left alone until nothing more can come of it. An effect that fails has done nothing, or all of it.
 *
 * Limits: one container; what several do to each other is in container.commands.test.ts.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { containerMachine } from '../../machines/container.ts';
import { drive, finish, recoverOf } from '../harness/container-driver.ts';
import { titleOf, walksOf, withNames } from '../harness/container-model.ts';
import { VARIANTS } from '../harness/container-variants.ts';
import { none, statesOf } from '../harness/machines.ts';

const driven = suite('container driven');

/** Every transition there is: "container.up configure 0". */
const EDGES = [containerMachine.root, ...statesOf(containerMachine.root)].flatMap((node) => [
  ...(node.always ?? []).map((_, n) => `${node.id}  ${n}`),
  ...[...node.transitions].flatMap(([type, all]) => all.map((_, n) => `${node.id} ${type} ${n}`)),
]);

/** Ways that the stages of a change have alike, and that this kind of change cannot go. */
const IMPOSSIBLE = [
  // A container without networks has no ports, and whoever asks for ports gets them announced before anything else.
  /^container\.configuring\.leasing leased [4-7]$/,
  /^container\.configuring\.announcing xstate\.done\.actor\.expose [1-4]$/,
  // A connection brings one network and no ports.
  /^container\.connecting\.leasing ( \d|leased [124-7])$/,
  /^container\.connecting\.announcing /,
  /^container\.connecting\.attaching xstate\.done\.actor\.attachment 1$/,
  // Ports come without networks, and there is at least one.
  /^container\.publishing\.leasing ( \d|leased [034])$/,
  /^container\.publishing\.announcing xstate\.done\.actor\.expose [0134]$/,
  /^container\.publishing\.(attaching|naming) /,
  // Whoever has names has a link, and whoever has ports or names has a namespace.
  /^container\.rollingBack\.unnaming unnamed 1$/,
  /^container\.tearingDown\.retracting xstate\.\w+\.actor\.unexpose [45]$/,
  /^container\.tearingDown\.withdrawing xstate\.\w+\.actor\.unpublish [34]$/,
  /^container\.tearingDown\.unnaming unnamed [23]$/,
];

const taken = new Set<string>();
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
        for (const steps of withNames(walksOf(variant))) {
          const fails = steps.some(({ event }) => FAILURE.test(event.type) || isStuck(event.output));
          if (failing === 'late' && !fails) continue; // the same as before
          for (const end of endingsOf(steps.at(-1)?.name ?? '')) {
            const run = await drive(variant, steps, failing);
            await end(run);
            await finish(run);
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
  const impossible = EDGES.filter((edge) => IMPOSSIBLE.some((pattern) => pattern.test(edge)));
  console.log(`${taken.size} of ${EDGES.length} transitions, ${impossible.length} cannot be taken`);
  const missed = new Set(EDGES.filter((edge) => !taken.has(edge)));
  assert.equal([...missed].sort(), impossible.sort());
});

driven.run();
