// as user: proving
/**
 * The answer of inspect for a container that changes during the inspection, or is not at rest. The kernel is empty, and
 * the registry answers differently each time, so that the test chooses the moments of a race.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Kernel } from '../../effects/kernel.ts';
import { inspect, type InspectParts } from '../../service/views/inspect.ts';
import type { ContainerSnapshot } from '../../service/records/snapshot.ts';
import { containerView } from '../../service/views/view.ts';
import type { Attachment, Change, ContainerContext } from '../../state/container.ts';
import { containerInput, leaseOf } from '../harness/fixtures.ts';

const PATH = '/run/cleat/netns-1';

const ATTACHMENT: Attachment = {
  ...leaseOf('web'),
  mac: '02:00:00:00:00:01',
  ordinal: 0,
  hostLink: 've0',
  link: 'eth0',
  alias: 'cleat:main:c1:7:web',
  aliases: ['c1'],
  gatewayPriority: 0,
};

const changing = suite('while it changes');

const IDENTITY = { dev: 4, ino: 5 };

function snapshotOf(state: string, more: Partial<ContainerContext> = {}, rest = true): ContainerSnapshot {
  const context: ContainerContext = {
    ...containerInput({ netns: { path: PATH, owned: true, from: null, of: null } }),
    identity: IDENTITY,
    attachments: [ATTACHMENT],
    ports: [],
    nextOrdinal: 1,
    configured: true,
    ownerGone: false,
    change: null,
    operation: { n: 1, type: 'configure', network: null },
    drift: [],
    fault: null,
    leftovers: [],
    attempts: 0,
    ...more,
  };
  return { value: state, status: 'active', context, hasTag: () => rest, _nodes: [] } as unknown as ContainerSnapshot;
}

/** A kernel in which nothing is left; `looked` counts the inspections of a namespace. */
function partsOf(get: () => ContainerSnapshot | undefined): InspectParts & { looked: () => number } {
  let looks = 0;
  const native = {
    netnsIdentify: () => Promise.resolve(IDENTITY),
    link: () => Promise.resolve(null),
    links: () => {
      looks++;
      return Promise.resolve([]);
    },
    addresses: () => Promise.resolve([]),
    routes: () => Promise.resolve([]),
    neighbours: () => Promise.resolve([]),
    linkSwitches: (keys: string[]) => Promise.resolve(keys.map(() => null)),
  };
  const outside = { kernel: native };
  const kernel = { outside: () => outside, outsideIfThere: () => outside } as unknown as Kernel;
  const networks = {
    get: () => {
      throw new Error('no such network');
    },
  };
  const view = (snapshot: ContainerSnapshot) => containerView(snapshot, '/run/cleat/etc');
  return { containers: { get }, networks, kernel, view, uplink: () => null, looked: () => looks };
}

const RECORDED = { kind: 'port' as const, object: 'ports4 [6,8080]', network: null };

changing('at rest in up everything is compared, and what is not compared is shown as recorded', async () => {
  const stale = { kind: 'address' as const, object: '10.0.0.1/8 on eth7', network: 'web' };
  const snapshot = snapshotOf('up', { drift: [stale, RECORDED] });
  const { drift, id } = (await inspect(
    partsOf(() => snapshot),
    'c1',
  ))!;
  assert.is(id, 'c1');
  assert.equal(drift, [
    { kind: 'link', object: 've0', network: 'web', problem: 'missing' },
    { kind: 'link', object: 'eth0', network: 'web', problem: 'missing' },
    { ...RECORDED, problem: 'missing' },
  ]);
});

changing('a container that is not at rest in up is not compared', async () => {
  const change: Change = { kind: 'reload', networks: {}, ports: [], todo: [], led: [] };
  const cases = [
    snapshotOf('connecting', { drift: [RECORDED] }, false),
    snapshotOf('up', { drift: [RECORDED] }, false),
    snapshotOf('up', { drift: [RECORDED], change }),
    snapshotOf('created', { drift: [RECORDED] }),
  ];
  for (const snapshot of cases) {
    const parts = partsOf(() => snapshot);
    assert.equal((await inspect(parts, 'c1'))?.drift, [{ ...RECORDED, problem: 'missing' }]);
    assert.is(parts.looked(), 0);
  }
});

changing('a container that has changed meanwhile is inspected again, but not for ever', async () => {
  const states = [snapshotOf('up'), snapshotOf('up'), snapshotOf('created')];
  let asked = 0;
  const settles = partsOf(() => states[Math.min(asked++, 2)]);
  assert.is((await inspect(settles, 'c1'))?.state, 'created');
  const restless = partsOf(() => snapshotOf('up', { drift: [RECORDED] }));
  assert.equal((await inspect(restless, 'c1'))?.drift, [{ ...RECORDED, problem: 'missing' }]);
  assert.is(restless.looked(), 3);
  let left: ContainerSnapshot | undefined = snapshotOf('up');
  const leaves = partsOf(() => {
    const now = left;
    left = undefined;
    return now;
  });
  assert.is(await inspect(leaves, 'c1'), null);
});

changing.run();
