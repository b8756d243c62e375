/**
 * What all machines have in common: they build, they say what each state is for, they wait for nothing that cannot be
 * answered, and they cannot spin.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, type AnyStateMachine, type AnyStateNode } from 'xstate';
import { NO_WAY_OUT } from '../../machines/plan/way-out.ts';
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
    adopted: {},
    recovering: false,
  },
  firewall: { outside: null, adopted: [], uplinks: [], found: null, recorded: false },
  ports: { adopted: {} },
  resolver: { outside: null, adopted: {}, recovering: false },
  uplink: { verb: 'start', settings: { program: 'slirp4netns', file: '/usr/bin/slirp4netns' } },
};

/** Sources that answer with events instead of an end, and the events. */
const ANSWERS: Record<string, string[]> = {
  lease: ['leased', 'refused'],
  release: ['released'],
  name: ['named', 'refused'],
  unname: ['unnamed'],
  verifyFirewall: ['verified', 'refused'],
  awaitVerdict: ['taken', 'kept'],
  holdFirewall: ['held', 'refused'],
  releaseFirewall: ['released'],
  backOff: ['retry'],
  fanOut: ['followed', 'stuck'],
};

const each = (look: (node: AnyStateNode) => string[]): string[] =>
  Object.entries(MACHINES).flatMap(([name, machine]) =>
    [machine.root, ...statesOf(machine.root)].flatMap((node) =>
      look(node).map((text) => `${name} ${node.path.join('.')}: ${text}`),
    ),
  );

const build = suite('machines');

build('each builds and begins', () => {
  for (const [name, machine] of Object.entries(MACHINES)) {
    const snapshot = createActor(machine, { input: INPUTS[name] }).getSnapshot() as { status: string; error?: unknown };
    assert.is(snapshot.status, 'active', `${name}: ${String(snapshot.error)}`);
  }
});

build('each state says what it is for', () => {
  assert.equal(
    each((node) => (node.parent === undefined || node.description !== undefined ? [] : ['has no description'])),
    [],
  );
});

build('whatever is invoked is answered, both ways', () => {
  assert.equal(
    each((node) =>
      node.invoke.flatMap(({ id, src }) => {
        const source = typeof src === 'string' ? src : id;
        const answers = ANSWERS[source] ?? [`xstate.done.actor.${id}`, `xstate.error.actor.${id}`];
        return answers.filter((type) => !node.transitions.has(type)).map((type) => `${source} lacks ${type}`);
      }),
    ),
    [],
  );
});

build('nothing takes any event there is: it would swallow the failures of children', () => {
  assert.equal(
    each((node) => [...node.transitions.keys()].filter((type) => type.includes('*'))),
    [],
  );
});

build('no timer: a restart would forget it', () => {
  assert.equal(
    each((node) => (node.after.length > 0 ? ['has `after`'] : [])),
    [],
  );
});

build('none can spin for ever', () => {
  const limits = Object.entries(MACHINES).map(([name, { options }]: [string, AnyStateMachine]) => [
    name,
    Number(options?.maxIterations) <= 100,
  ]);
  assert.equal(
    limits.filter(([, bounded]) => bounded !== true),
    [],
  );
});

build('custom actions are assignments and sends: nothing of a machine acts by itself', () => {
  const acting = each((node) =>
    [...node.entry, ...node.exit, ...[...node.transitions.values()].flat().flatMap(({ actions }) => actions)]
      .filter((action) => typeof action === 'function' && !('resolve' in action))
      .map((action) => `runs ${typeof action === 'function' ? action.name : ''}`),
  );
  assert.equal(acting, []);
});

build.run();
