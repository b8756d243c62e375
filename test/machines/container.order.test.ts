/**
 * The order in which a container's effects and requests begin, in each operation that has more than one, and the effect
 * of `force` on a link that cannot be removed.
 *
 * Limits: no kernel is involved; test/service/publisher-order.test.ts shows that the order is possible there.
 */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, fromPromise, waitFor } from 'xstate';
import { attachmentMachine } from '../../machines/container/attachment.ts';
import { containerMachine } from '../../machines/container/container.ts';
import type { ContainerEvent, LeaseInput } from '../../machines/container/container-inputs.ts';
import { containerInput, FAULT, leaseOf, resolve } from '../harness/fixtures.ts';

const NAMED = { dns: { listen: ['10.89.0.1'], servers: ['192.0.2.53'] } };
const JOINED = { path: '/run/cleat/netns-1', owned: false, from: '/run/netns/theirs', of: null };
const EVERYTHING = {
  publisher: 'gvproxy',
  files: true,
  request: {
    netns: { mode: 'new' as const },
    networks: { web: {}, back: {} },
    ports: [{ host_port: 8080, container_port: 80 }],
  },
};

/** A container whose effects succeed at once, except those in `failing`. */
function container(more: Partial<Parameters<typeof containerInput>[0]> = {}) {
  const began: string[] = [];
  const failing = new Set<string>();
  const effect = (name: string) =>
    fromPromise<unknown, object>(() => {
      began.push(name);
      if (failing.has(name)) return Promise.reject(Object.assign(new Error(name), { fault: FAULT }));
      return Promise.resolve(name === 'ensureNamespace' ? { dev: 4, ino: 7 } : null);
    });
  const request = (name: string, answer: (input: object) => unknown) =>
    fromPromise<unknown, object>(({ input }) => {
      began.push(name);
      return Promise.resolve(answer(input));
    });
  const effects = (...names: string[]) => Object.fromEntries(names.map((name) => [name, effect(name)]));
  const machine = containerMachine.provide({
    actors: {
      ...effects('ensureNamespace', 'removeNamespace', 'expose', 'unexpose', 'publish', 'unpublish'),
      ...effects('ensureFiles', 'removeFiles', 'awaitLinksGone'),
      attachment: attachmentMachine.provide({
        actors: effects('ensureLink', 'ensureAddresses', 'replaceLink', 'reviseLink', 'removeLink'),
      }),
      lease: request('lease', (input) => {
        const { networks, ports } = input as LeaseInput;
        const leases = Object.keys(networks).map((network) => ({ ...leaseOf(network), ...NAMED }));
        return { leases, ports: ports.map(resolve), inside: [], given: [] };
      }),
      release: request('release', () => null),
      name: request('name', () => null),
      unname: request('unname', () => null),
      backOff: fromPromise(() => new Promise(() => {})),
    } as never,
  });
  const actor = createActor(machine, { input: containerInput({ ...EVERYTHING, ...more }) });
  actor.start();
  // An actor that has stopped with an error never rests.
  const rest = () =>
    waitFor(actor, (snapshot) => snapshot.status === 'done' || snapshot.hasTag('rest'), { timeout: 10_000 });
  return {
    failing,
    rest,
    /** Returns what begins between this event and the next rest. */
    async after(event: ContainerEvent): Promise<string[]> {
      await rest();
      began.length = 0;
      actor.send(event);
      await rest();
      return [...began];
    },
    snapshot: () => actor.getSnapshot(),
  };
}

const LINK = ['ensureLink', 'ensureAddresses'];
const disconnect = (force: boolean): ContainerEvent => ({ type: 'disconnect', network: 'web', force });

const order = suite('order in a container');

order('an addition makes publisher, links, names, ports and files, each after what it leads to', async () => {
  const all = container();
  assert.equal(await all.after({ type: 'configure' }), [
    'lease',
    'expose',
    ...LINK,
    ...LINK,
    'name',
    'publish',
    'ensureFiles',
  ]);
  assert.is(all.snapshot().value, 'up');
});

order('a teardown removes publisher, ports, names, namespace and files, and then releases leases', async () => {
  const all = container();
  await all.after({ type: 'configure' });
  assert.equal(await all.after({ type: 'teardown', users: [] }), [
    'unexpose',
    'unpublish',
    'unname',
    'removeNamespace',
    'removeFiles',
    'release',
    'awaitLinksGone',
    'release',
  ]);
});

order('a teardown in a namespace of others removes the links one by one, the last one first', async () => {
  const all = container({ netns: JOINED });
  await all.after({ type: 'configure' });
  assert.equal(await all.after({ type: 'teardown', users: [] }), [
    'unexpose',
    'unpublish',
    'unname',
    'removeLink',
    'removeLink',
    'removeNamespace',
    'removeFiles',
    'release',
    'awaitLinksGone',
    'release',
  ]);
});

order('a connect adds names before ports, and a disconnect removes ports before names', async () => {
  const all = container({ request: { ...EVERYTHING.request, networks: { web: {} } } });
  await all.after({ type: 'configure' });
  assert.equal(await all.after({ type: 'connect', network: 'back', options: { gateway_priority: 7 } }), [
    'lease',
    ...LINK,
    'name',
    'publish',
    'ensureFiles',
  ]);
  const away = await all.after({ type: 'disconnect', network: 'back', force: false });
  assert.equal(away, ['publish', 'unname', 'removeLink', 'ensureFiles', 'release']);
});

order('an addition that fails is undone in the opposite order', async () => {
  const all = container();
  all.failing.add('ensureFiles');
  assert.equal((await all.after({ type: 'configure' })).slice(-6), [
    'unexpose',
    'publish',
    'unname',
    'removeLink',
    'removeLink',
    'release',
  ]);
  assert.is(all.snapshot().value, 'created');
});

order(
  'a link that cannot be removed undoes a disconnect, unless it is forced: then removing is tried until done',
  async () => {
    for (const step of ['removeLink', 'publish'] as const) {
      const back = container();
      await back.after({ type: 'configure' });
      back.failing.add(step);
      await back.after(disconnect(false));
      const gentle = back.snapshot();
      if (step === 'removeLink') assert.is(gentle.value, 'up');
      assert.ok('web' in gentle.context.request.networks);
      assert.is(gentle.context.fault?.code, FAULT.code);

      const away = container();
      await away.after({ type: 'configure' });
      away.failing.add(step);
      await away.after(disconnect(true));
      const forced = away.snapshot();
      assert.is(forced.value, 'failed', step);
      assert.equal(forced.context.leftovers, [FAULT], step);
      assert.is(forced.context.fault, null, step);
    }
  },
);

order.run();
