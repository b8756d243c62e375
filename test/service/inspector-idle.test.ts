/**
 * What the inspector's stream costs: nothing while nobody looks. Observers and listeners are counted, without a daemon: before
 * the first viewer, with two, while the last may come back, and after. And the ring of the last messages, by its properties.
 */
import { EventEmitter } from 'eventemitter3';
import fc from 'fast-check';
import { mock } from 'node:test';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createActor, type AnyActorRef } from 'xstate';
import { portsMachine } from '../../machines/ports.ts';
import { ROOT } from '../../effects/effect.ts';
import { Inspector } from '../../service/viewers/inspector.ts';
import { Ring } from '../../service/viewers/ring.ts';

const idle = suite('inspector, idle');

/** Starts a machine as the daemon runs it (any will do), and counts who observes it. */
function observed() {
  const actor = createActor(portsMachine, { systemId: ROOT, input: { adopted: {} } }).start();
  const counts = { observers: 0, subscribers: 0 };
  type Attach = (...all: unknown[]) => { unsubscribe(): void };
  const count = (on: Record<string, Attach>, key: string, name: keyof typeof counts) => {
    const original = on[key]?.bind(on) as Attach;
    on[key] = (...all) => {
      const subscription = original(...all);
      counts[name]++;
      return {
        unsubscribe: () => {
          counts[name]--;
          subscription.unsubscribe();
        },
      };
    };
  };
  count(actor.system as never, 'inspect', 'observers');
  count(actor as never, 'subscribe', 'subscribers');
  return { actor: actor as AnyActorRef, counts };
}

function world() {
  const container = observed();
  const ports = observed();
  const roster = {
    bus: new EventEmitter(),
    entries: new Map([['a', { actor: container.actor }]]),
    get: () => undefined,
    all: () => [],
    neighbours: {},
  };
  const shared = {
    bus: new EventEmitter(),
    all: () => [{ kind: 'ports', outside: null, name: 'ports', actor: ports.actor }],
  };
  const definitions = { bus: new EventEmitter(), byName: new Map() };
  const inspector = new Inspector({
    roster,
    shared,
    definitions,
    networks: () => [],
    view: () => ({}),
    daemon: { version: '1', instance: 'main', pid: 1, run: '0123456789abcdef' },
  } as never);
  const listeners = () =>
    [roster.bus, shared.bus, definitions.bus].reduce(
      (sum, bus) => sum + bus.eventNames().reduce((n, name) => n + bus.listenerCount(name), 0),
      0,
    );
  const attached = () => container.counts.observers + ports.counts.subscribers + listeners();
  return { inspector, attached, container, ports, roster };
}

const viewer = () => {
  const texts: string[] = [];
  return { texts, write: (text: string) => void texts.push(text) };
};

idle('nobody is attached to anything until somebody looks, and after everybody has gone', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  try {
    const { inspector, attached, container, ports } = world();
    assert.is(attached(), 0);
    assert.not(inspector.listening);
    const leave = [inspector.join(viewer(), null, true), inspector.join(viewer(), null, true)];
    assert.is(container.counts.observers, 1);
    assert.is(ports.counts.subscribers, 1);
    const all = attached();
    assert.is(all, 7);
    leave[0]?.();
    leave[0]?.(); // a connection may say twice that it is closed
    mock.timers.tick(60_000);
    assert.is(attached(), all, 'one is still looking');
    leave[1]?.();
    mock.timers.tick(9_999);
    assert.is(attached(), all, 'it may come back');
    const again = inspector.join(viewer(), null, true);
    mock.timers.tick(60_000);
    assert.is(attached(), all);
    again();
    mock.timers.tick(10_000);
    assert.is(attached(), 0);
    assert.not(inspector.listening);
  } finally {
    mock.timers.reset();
  }
});

idle('what happens while nobody looks is neither kept nor believed to be known', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  try {
    const { inspector, roster } = world();
    const first = viewer();
    const leave = inspector.join(first, null, true);
    const [, id = ''] = /^id: (.*)$/m.exec(first.texts.join('')) ?? [];
    leave();
    mock.timers.tick(10_000);
    roster.bus.emit('notification', { type: 'drift' });
    const second = viewer();
    inspector.join(second, id, true);
    assert.match(second.texts.join(''), '"resumed":false');
    assert.not.match(second.texts.join(''), 'drift');
  } finally {
    mock.timers.reset();
  }
});

idle('a viewer hears a sign of life, however quiet it is', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  try {
    const { inspector } = world();
    const quiet = viewer();
    inspector.join(quiet, null, true);
    const before = quiet.texts.length;
    mock.timers.tick(15_000);
    assert.equal(quiet.texts.slice(before), [':\n\n']);
  } finally {
    mock.timers.reset();
  }
});

idle('only so many may look', () => {
  const { inspector } = world();
  const leave = Array.from({ length: 32 }, () => inspector.join(viewer(), null, true));
  assert.throws(
    () => inspector.refuseTooMany(),
    (error: Error) => error.message.includes('32 inspectors are open'),
  );
  leave[0]?.();
  inspector.refuseTooMany();
  for (const one of leave) one();
});

idle('the ring: whoever goes on from any id has all that came after it, or is told that it cannot', () => {
  const words = fc.array(fc.oneof(fc.string({ maxLength: 30 }), fc.constant(null)), { maxLength: 60 });
  fc.assert(
    fc.property(words, fc.nat(60), (all, from) => {
      const ring = new Ring('ab', 400);
      /** The texts since the ring forgot, and the id before the first. */
      let since: string[] = [];
      const ids = [ring.last];
      const after = new Map<string, string[]>([[ring.last, since]]);
      for (const word of all) {
        if (word === null) {
          ring.forget();
          since = [];
          after.clear();
          after.set(ring.last, []);
        } else {
          const text = ring.add('word', JSON.stringify(word));
          for (const texts of after.values()) texts.push(text);
          after.set(ring.last, []);
        }
        ids.push(ring.last);
      }
      const id = ids[from % ids.length] ?? '';
      const found = ring.since(id);
      if (found === null) {
        const lost = after.get(id)?.join('').length ?? Infinity;
        assert.ok(lost > 400, `${id} is refused, and only ${lost} characters came after it`);
      } else {
        assert.equal(found, after.get(id));
        assert.ok(found.join('').length <= 400);
      }
    }),
  );
});

idle.run();
