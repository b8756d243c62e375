/**
 * The watch on neighbours when an operation fails, or ends, during an inspection. The kernel is simulated, because the
 * real one neither fails at one container alone nor waits. neighbour-limit.test.ts shows the watch on the real kernel.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NeighbourWatch, type NeighbourWatchParts } from '../../service/watch/neighbour-watch.ts';
import type { LimitedNotification } from '../../state/answers/notification.ts';
import { until } from '../harness/native.ts';

const watching = suite('watch on neighbours');
const LIMIT = 4;
const DELAY = 1;
const HELD = '0';

/** Containers in which one link, eth0, has so many neighbours; `broken` cannot be inspected. */
function world(counts: Record<string, number>, broken: string | null = null) {
  const switches = new Map<string, string>();
  const failures: string[] = [];
  const told: LimitedNotification[] = [];
  let written: () => Promise<void> = () => Promise.resolve();
  const native = {
    neighbourUse: () => Promise.resolve([{ family: 4, entries: 100, maximum: 1000, allocated: 100 }]),
    links: () => Promise.resolve([{ index: 2, name: 'eth0' }]),
    neighbours: (path: string) => {
      if (path === broken) return Promise.reject(new Error('it broke'));
      const one = (_: unknown, i: number) => ({ link: 2, address: `10.0.0.${i + 1}`, mac: '', state: DELAY });
      return Promise.resolve(Array.from({ length: counts[path] ?? 0 }, one));
    },
    rtnl: (requests: unknown[]) => Promise.resolve(requests.map(() => ({ errno: 0, code: '' }))),
    sysctlRead: (keys: string[], path: string) =>
      Promise.resolve(keys.map((key) => switches.get(`${path} ${key}`) ?? '3')),
    sysctlWrite: async (values: Record<string, string>, path: string) => {
      await written();
      for (const [key, value] of Object.entries(values)) switches.set(`${path} ${key}`, value);
    },
  };
  const outside = { kernel: native };
  const contexts = Object.keys(counts).map((id) => ({
    id,
    outside: null,
    netns: { path: id, of: null },
    identity: {},
    attachments: [],
    uplink: null,
  }));
  const parts = {
    kernel: { outside: () => outside, outsideIfThere: () => outside, isOpen: () => true },
    containers: { all: () => contexts.map((context) => ({ context })) },
    shared: { outsides: () => [null], standingIn: () => [] },
    limit: LIMIT,
    announce: (notification: LimitedNotification) => told.push(notification),
    failed: (what: string) => failures.push(what),
  };
  return {
    watch: new NeighbourWatch(parts as unknown as NeighbourWatchParts),
    failures,
    told: () => told.map(({ id }) => id),
    held: () => [...switches].filter(([, value]) => value === HELD).map(([key]) => key),
    beforeWrite: (work: () => Promise<void>) => (written = work),
  };
}

watching('a container that cannot be inspected is reported once, and the next is cut to its share', async () => {
  const { watch, failures, told, held } = world({ broken: 1, flooding: 9 }, 'broken');
  watch.start();
  await until('it was looked at twice', () => told().length > 0 && failures.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 1500)); // one more inspection
  assert.equal(told(), ['flooding']);
  assert.equal(failures, ['neighbours of container broken']);
  assert.ok(held().length > 0);
  await watch.close();
  assert.equal(held(), []);
});

watching('a stop during an inspection releases the containers that the inspection holds after it', async () => {
  const { watch, failures, held, beforeWrite } = world({ flooding: 9 });
  let stopped: Promise<void> | undefined;
  beforeWrite(() => {
    stopped ??= watch.close();
    return new Promise((resolve) => setTimeout(resolve, 50));
  });
  watch.start();
  await until('the look has begun to hold', () => stopped !== undefined);
  await stopped;
  await new Promise((resolve) => setTimeout(resolve, 300)); // the inspection would have gone on
  assert.equal([held(), failures], [[], []]);
});

watching.run();
