/**
 * Properties of all machines: they build, each state has a description, they wait for nothing that cannot be answered,
 * and they cannot loop for ever.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, type AnyStateMachine, type AnyStateNode } from 'xstate';
import { NO_WAY_OUT } from '../../plan/networks/way-out.ts';
import { containerInput, definition } from '../harness/fixtures.ts';
import { MACHINES, statesOf } from '../harness/machines.ts';

const INPUTS: Record<string, unknown> = {
  container: containerInput(),
  attachment: {
    verb: 'attach',
    attachment: {},
    predecessor: null,
    netns: '/x',
    owned: true,
    outside: null,
    owner: 'c1:7',
  },
  network: {
    definition: definition('web', '10.89.0.0/24', '10.89.0.1'),
    outside: null,
    wayOut: NO_WAY_OUT,
    adopted: new Map(),
    recovering: false,
  },
  firewall: { outside: null, adopted: [], uplinks: [], found: null, recorded: false },
  ports: { adopted: {} },
  resolver: { outside: null, adopted: {}, recovering: false },
  uplink: { verb: 'start', settings: { program: 'slirp4netns', file: '/usr/bin/slirp4netns' } },
};

/** Actors that never reject; `release` does not where it gives ports back alone. */
const NEVER_FAIL = new Set(['release', 'unname', 'awaitVerdict', 'releaseFirewall', 'backOff']);

const each = (look: (node: AnyStateNode) => string[]): string[] =>
  Object.entries(MACHINES).flatMap(([name, machine]) =>
    [machine.root, ...statesOf(machine.root)].flatMap((node) =>
      look(node).map((text) => `${name} ${node.path.join('.')}: ${text}`),
    ),
  );

const build = suite('machines');

build('each machine builds and starts', () => {
  for (const [name, machine] of Object.entries(MACHINES)) {
    const snapshot = createActor(machine, { input: INPUTS[name] }).getSnapshot() as { status: string; error?: unknown };
    assert.is(snapshot.status, 'active', `${name}: ${String(snapshot.error)}`);
  }
});

build('each state has a description', () => {
  assert.equal(
    each((node) => (node.parent === undefined || node.description !== undefined ? [] : ['has no description'])),
    [],
  );
});

build('each invoked actor has a transition for done and for error', () => {
  assert.equal(
    each((node) =>
      node.invoke.flatMap(({ id, src }) => {
        const source = typeof src === 'string' ? src : id;
        const ends = [`xstate.done.actor.${id}`, ...(NEVER_FAIL.has(source) ? [] : [`xstate.error.actor.${id}`])];
        return ends.filter((type) => !node.transitions.has(type)).map((type) => `${source} lacks ${type}`);
      }),
    ),
    [],
  );
});

build('no state accepts every event, which would swallow the failures of children', () => {
  assert.equal(
    each((node) => [...node.transitions.keys()].filter((type) => type.includes('*'))),
    [],
  );
});

build('no machine has a timer, which a restart would forget', () => {
  assert.equal(
    each((node) => (node.after.length > 0 ? ['has `after`'] : [])),
    [],
  );
});

build('no machine can loop for ever', () => {
  const limits = Object.entries(MACHINES).map(([name, { options }]: [string, AnyStateMachine]) => [
    name,
    Number(options?.maxIterations) <= 100,
  ]);
  assert.equal(
    limits.filter(([, bounded]) => bounded !== true),
    [],
  );
});

build('custom actions are only assignments and sends: no machine acts by itself', () => {
  const acting = each((node) =>
    [...node.entry, ...node.exit, ...[...node.transitions.values()].flat().flatMap(({ actions }) => actions)]
      .filter((action) => typeof action === 'function' && !('resolve' in action))
      .map((action) => `runs ${typeof action === 'function' ? action.name : ''}`),
  );
  assert.equal(acting, []);
});

build.run();
