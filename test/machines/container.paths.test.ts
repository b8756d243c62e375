// slow: 30 s, nineteen thousand walks are taken and each of their ends is looked at
// proving: 600
/**
 * Every edge of the shipped container machine, walked as pure transitions: what must hold after each step, and after a
 * teardown, a failure and the end of those who use its namespace from there.
 *
 * Limits: container.driven.test.ts checks the world; container.commands.test.ts has several containers.
 */
import { initialTransition, transition } from 'xstate';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  INVARIANTS,
  eventsIn,
  nameOf,
  titleOf,
  walksOf,
  withNames,
  type Snapshot,
  type Step,
} from '../harness/container-model.ts';
import { VARIANTS, type Variant } from '../harness/container-variants.ts';
import { subtract } from '../../plan/ports/port-list.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { ContainerEvent } from '../../machines/container/container-inputs.ts';
import { assertNone, statesOf } from '../harness/machines.ts';
import { effort, proved } from '../harness/proof.ts';

const WALKS = Object.entries(VARIANTS).map(([name, variant]) => ({ name, variant, walks: walksOf(variant) }));
const LEAVING = ['tearingDown', 'draining', 'releasing', 'gone'];
const TEARDOWN: ContainerEvent = { type: 'teardown', users: [] };
const OPERATIONS = ['configure', 'connect', 'disconnect', 'publish', 'unpublish', 'reload', 'adjust', 'yield'];

/** Going on from the end of a walk costs as much as all walks: npm test does so only from every fortieth. */
const STRIDE = effort('onwards', 40, 1);

const everyWalk = (
  look: (steps: Step[], last: Snapshot, variant: Variant) => string | undefined,
  stride = 1,
): string[] =>
  WALKS.flatMap(({ name, variant, walks }) =>
    walks.flatMap((steps, n) => {
      if (n % stride > 0) return [];
      const last = steps.at(-1)?.state;
      const objection = last && look(steps, last, variant);
      return objection === undefined ? [] : [`${name}: ${objection}\n    ${titleOf(withNames([steps])[0]!)}`];
    }),
  );

/** Everything that a failed operation must have left as it was. Links may be new ones: some of a rebuilding stay. */
const facts = ({ context }: Snapshot): string => {
  const { attachments, ports, request, configured, operation } = context;
  const rebuilt = operation.type === 'reload';
  return JSON.stringify({
    attachments: attachments.map((all) => (rebuilt ? { ...all, ordinal: 0, hostLink: '' } : all)),
    ports,
    request,
    configured,
  });
};

/** Makes everything succeed, until it is in one of these states or waits for nothing. */
function succeed(from: Snapshot, variant: Variant, until: (state: Snapshot) => boolean): Snapshot {
  let state = from;
  for (let i = 0; i < 40 && state.status === 'active' && !until(state); i++) {
    const [next] = eventsIn(state, variant);
    if (next === undefined) break;
    [state] = transition(containerMachine, state, next as ContainerEvent);
  }
  return state;
}

/** Takes exactly this walk: states found by the search differ in what their key leaves out. */
function again(steps: readonly Step[]): Snapshot[] {
  let [state] = initialTransition(containerMachine, steps[0]!.state.context);
  return [
    state,
    ...steps.slice(1).map(({ event }) => ([state] = transition(containerMachine, state, event as ContainerEvent))[0]),
  ];
}

const paths = suite('container paths');

paths('there are paths to every state', () => {
  proved(
    'walks of the container machine by itself',
    WALKS.reduce((sum, { walks }) => sum + walks.length, 0),
  );
  const reached = new Set(
    WALKS.flatMap(({ walks }) => walks.flatMap((steps) => steps.map(({ state }) => nameOf(state)))),
  );
  // States that are left at once, or of a change without that part (connect brings no ports, publish no network).
  const passing =
    /\.(choosing|choosingConnection|finishing|lookingForLink|lookingForFiles|checkingPlan|checkingUplink|checkingLeftovers)$|^settling$|^connecting\.(exposing|startingUplink)$|^publishing\.(startingUplink|attaching|naming)$/;
  const leaves = statesOf(containerMachine.root).filter((node) => Object.keys(node.states).length === 0);
  const missed = leaves.map((node) => node.path.join('.')).filter((path) => !reached.has(path) && !passing.test(path));
  assert.equal(missed, []);
});

for (const [what, objection] of Object.entries(INVARIANTS)) {
  paths(what, () => assertNone(everyWalk((_, last) => objection(last))));
}

paths('teardown is accepted in every state that is not the last', () => {
  assertNone(
    everyWalk((_, last) => {
      if (last.status !== 'active') return undefined;
      const [next] = transition(containerMachine, last, TEARDOWN);
      return LEAVING.includes(nameOf(next).split('.')[0] ?? '') ? undefined : `teardown leads to ${nameOf(next)}`;
    }),
  );
});

paths('the end of the process is a teardown, which a teardown under way ignores', () => {
  assertNone(
    everyWalk((_, last) => {
      if (last.status !== 'active') return undefined;
      const [exited] = transition(containerMachine, last, { type: 'process.exited', users: [] });
      const [torn] = transition(containerMachine, last, TEARDOWN);
      const late = [...LEAVING, 'teardownFailed'].includes(nameOf(last).split('.')[0] ?? '');
      return nameOf(exited) === nameOf(late ? last : torn) ? undefined : `process.exited leads to ${nameOf(exited)}`;
    }),
  );
});

for (const type of ['teardown', 'process.exited'] as const) {
  paths(`${type} while others use the namespace leaves everything to them, until they have gone`, () => {
    assertNone(
      everyWalk((_, last, variant) => {
        const late = [...LEAVING, 'teardownFailed', 'abandoning'].includes(nameOf(last).split('.')[0] ?? '');
        if (last.status !== 'active' || late) return undefined;
        const [held] = transition(containerMachine, last, { type, users: ['c4'] });
        if (nameOf(held) !== nameOf(last)) return `leads to ${nameOf(held)}`;
        if (!held.context.ownerGone) return 'is not held';
        const [deserted] = transition(containerMachine, held, { type: 'lastUserGone' });
        if (!deserted.matches('tearingDown') && !LEAVING.includes(nameOf(deserted))) {
          return `deserted, it is ${nameOf(deserted)}`;
        }
        const rest = succeed(held, variant, (state) => ['up', 'created'].includes(nameOf(state)));
        if (nameOf(last).startsWith('creating') && rest.status === 'done') return undefined;
        if (!rest.context.ownerGone || rest.status !== 'active') return `left alone, it is ${nameOf(rest)}`;
        const [left] = transition(containerMachine, rest, { type: 'lastUserGone' });
        return LEAVING.includes(nameOf(left).split('.')[0] ?? '') ? undefined : `deserted later, it is ${nameOf(left)}`;
      }, STRIDE),
    );
  });
}

paths('lastUserGone does nothing unless the owner is gone', () => {
  assertNone(
    everyWalk((_, last) => {
      if (last.status !== 'active' || last.context.ownerGone) return undefined;
      const [next] = transition(containerMachine, last, { type: 'lastUserGone' });
      return nameOf(next) === nameOf(last) ? undefined : `leads to ${nameOf(next)}`;
    }),
  );
});

paths('an operation that failed has changed nothing', () => {
  let failures = 0;
  assertNone(
    everyWalk((steps, last) => {
      const { operation, fault } = last.context;
      if (!['created', 'up'].includes(nameOf(last)) || fault === null || !OPERATIONS.includes(operation.type)) {
        return undefined;
      }
      failures++;
      const states = again(steps);
      const state = states.at(-1)!;
      const began = states.findIndex(({ context }) => context.operation.n === state.context.operation.n);
      const before = states[began - 1]!;
      const [was, is] = [facts({ ...before, context: { ...before.context, operation } }), facts(state)];
      return was === is ? undefined : `${operation.type} failed\n      was ${was}\n      is  ${is}`;
    }),
  );
  assert.ok(failures > 50, `only ${failures}`);
});

/** The required result of an operation without a fault. */
const asked: Record<string, (event: ContainerEvent, state: Snapshot) => boolean> = {
  configure: (_, { context }) => context.configured,
  connect: (event, { context }) =>
    event.type === 'connect' && context.attachments.some(({ network }) => network === event.network),
  disconnect: (event, { context }) =>
    event.type === 'disconnect' &&
    !(event.network in context.request.networks) &&
    context.attachments.every(({ network }) => network !== event.network),
  publish: (event, { context }) =>
    event.type === 'publish' && event.ports.every((port) => subtract(context.ports, [port]).taken.length > 0),
  unpublish: (event, { context }) =>
    event.type === 'unpublish' && event.ports.every((port) => subtract(context.ports, [port]).taken.length === 0),
};

paths('an operation that did not fail has done what was requested', () => {
  let successes = 0;
  assertNone(
    everyWalk((steps, last) => {
      if (!['up', 'degraded'].includes(nameOf(last)) || last.context.fault !== null) return undefined;
      const states = again(steps);
      const { n, type } = states.at(-1)!.context.operation;
      const began = states.findIndex(({ context }) => context.operation.n === n);
      const event = steps[began]?.event as ContainerEvent | undefined;
      // The state where it first came to rest: what was repaired later has no fault either.
      const before = states.slice(began, -1).some((state) => ['up', 'degraded'].includes(nameOf(state)));
      const done = asked[type];
      if (done === undefined || event?.type !== type || before) return undefined;
      successes++;
      return done(event, states.at(-1)!) ? undefined : `${type} is not done`;
    }),
  );
  assert.ok(successes > 50, `only ${successes}`);
});

paths('gone is reached from every state by a teardown and success', () => {
  assertNone(
    everyWalk((_, last, variant) => {
      if (last.status === 'error') return undefined;
      const from = last.status === 'active' ? transition(containerMachine, last, TEARDOWN)[0] : last;
      const state = succeed(from, variant, () => false);
      return state.value === 'gone' ? undefined : `ends in ${nameOf(state)}`;
    }, STRIDE),
  );
});

paths('the pure machine starts where the walks do', () => {
  for (const { variant, walks } of WALKS) {
    const [state] = initialTransition(containerMachine, variant.input);
    assert.is(nameOf(state), nameOf(walks[0]![0]!.state));
  }
});

paths.run();
