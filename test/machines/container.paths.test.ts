/**
 * Every edge of the shipped container machine, walked twice: as pure transitions, with the invariants after each step, and
 * as an actor whose effects change a world of strings, compared with the pure state after each step and torn down at the
 * end of each walk.
 *
 * Limits: one container; what several do to each other is in container.commands.test.ts.
 */
import { initialTransition, transition } from 'xstate';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  INVARIANTS,
  VARIANTS,
  eventsIn,
  nameOf,
  titleOf,
  walksOf,
  type Snapshot,
  type Step,
} from '../harness/container-model.ts';
import { containerMachine, type ContainerEvent } from '../../machines/container.ts';
import { statesOf } from '../harness/machines.ts';
import { drive, finish } from '../harness/container-driver.ts';

const WALKS = Object.entries(VARIANTS).map(([name, variant]) => ({
  name,
  input: variant.input,
  walks: walksOf(variant),
}));
const LEAVING = ['tearingDown', 'draining', 'releasing', 'gone'];
const ADDITIONS = ['configure', 'connect', 'publish'];

/** One line each; of those that begin alike the first is shown, with the way there. */
function none(objections: string[]): void {
  const kinds = new Map<string, string>();
  for (const text of objections) {
    const kind = text.split('\n')[0] ?? '';
    if (!kinds.has(kind)) kinds.set(kind, text);
  }
  assert.ok(kinds.size === 0, `${objections.length} objections:\n${[...kinds.values()].slice(0, 12).join('\n')}`);
}

const everyWalk = (look: (steps: Step[], last: Snapshot, variant: string) => string | undefined): string[] =>
  WALKS.flatMap(({ name, walks }) =>
    walks.flatMap((steps) => {
      const last = steps.at(-1)?.state;
      const objection = last && look(steps, last, name);
      return objection === undefined ? [] : [`${name}: ${objection}\n    ${titleOf(steps)}`];
    }),
  );

const facts = ({ value, context: { attachments, ports, request, configured } }: Snapshot): string =>
  JSON.stringify({
    value,
    attachments: attachments.map(({ network, hostLink }) => [network, hostLink]),
    ports,
    request,
    configured,
  });

const paths = suite('container paths');

paths('there are some, to every state', () => {
  for (const { name, walks } of WALKS) console.log(`${name}: ${walks.length} walks`);
  const reached = new Set(
    WALKS.flatMap(({ walks }) => walks.flatMap((steps) => steps.map(({ state }) => nameOf(state)))),
  );
  // Left at once; or of a change that has no such part (connect brings no ports, publish no network).
  const passing = /\.(choosing|judging|done)$|^settling$|^connecting\.exposing$|^publishing\.attaching\.attachment$/;
  const leaves = statesOf(containerMachine.root).filter((node) => Object.keys(node.states).length === 0);
  const missed = leaves.map((node) => node.path.join('.')).filter((path) => !reached.has(path) && !passing.test(path));
  assert.equal(missed, []);
});

for (const [what, objection] of Object.entries(INVARIANTS)) {
  paths(what, () => none(everyWalk((_, last) => objection(last))));
}

paths('teardown is accepted in every state that is not the last', () => {
  none(
    everyWalk((_, last) => {
      if (last.status !== 'active') return undefined;
      const [next] = transition(containerMachine, last, { type: 'teardown' });
      return LEAVING.includes(nameOf(next).split('.')[0] ?? '') ? undefined : `teardown leads to ${nameOf(next)}`;
    }),
  );
});

paths('the end of the process is a teardown, and ignored by what is being torn down', () => {
  none(
    everyWalk((_, last) => {
      if (last.status !== 'active') return undefined;
      const [exited] = transition(containerMachine, last, { type: 'process.exited' });
      const [torn] = transition(containerMachine, last, { type: 'teardown' });
      const late = [...LEAVING, 'teardownFailed'].includes(nameOf(last).split('.')[0] ?? '');
      return nameOf(exited) === nameOf(late ? last : torn) ? undefined : `process.exited leads to ${nameOf(exited)}`;
    }),
  );
});

paths('an addition that failed has changed nothing', () => {
  none(
    everyWalk((steps, last) => {
      const { operation, fault } = last.context;
      if (!['created', 'up'].includes(nameOf(last)) || fault === null || !ADDITIONS.includes(operation.type)) {
        return undefined;
      }
      // Exactly this walk: states found by the search differ in what their key leaves out.
      const events = steps.slice(1).map(({ event }) => event as ContainerEvent);
      const input = steps[0]!.state.context;
      let state: Snapshot = initialTransition(containerMachine, input)[0];
      let before = '';
      for (const event of events) {
        if (ADDITIONS.includes(event.type)) before = facts(state);
        [state] = transition(containerMachine, state, event);
      }
      return before === facts(state)
        ? undefined
        : `${operation.type} failed\n      was ${before}\n      is  ${facts(state)}`;
    }),
  );
});

paths('gone is reached from everywhere by a teardown and success', () => {
  none(
    everyWalk((_, last) => {
      if (last.status === 'error') return undefined;
      let state: Snapshot = last;
      if (state.status === 'active') [state] = transition(containerMachine, state, { type: 'teardown' });
      for (let i = 0; i < 30 && state.status === 'active'; i++) {
        const next = eventsIn(state)[0] as ContainerEvent | undefined;
        if (next === undefined) break;
        [state] = transition(containerMachine, state, next);
      }
      return state.value === 'gone' ? undefined : `ends in ${nameOf(state)}`;
    }),
  );
});

paths('the pure machine begins where the walks do', () => {
  for (const { input, walks } of WALKS) {
    const [state] = initialTransition(containerMachine, input);
    assert.is(nameOf(state), nameOf(walks[0]![0]!.state));
  }
});

for (const { name, input, walks } of WALKS) {
  paths(`driven with effects: ${name}`, async () => {
    const objections: string[] = [];
    for (const steps of walks) {
      // The attachment's machine has an answer to everything: no effect makes it end in an error.
      if (steps.some(({ event }) => event.type === 'xstate.error.actor.attachment')) continue;
      const run = await drive(input, steps);
      await finish(run);
      for (const objection of run.objections) objections.push(`${objection}\n    ${titleOf(steps)}`);
    }
    none(objections);
  });
}

paths.run();
