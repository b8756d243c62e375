/**
 * What Docker's clients are told of networks, by what containers are at each notification: nothing of an operation that is still under
 * way, nothing twice, and the past only as far as it is kept. The daemon's own events are in docker.test.ts.
 */
import { EventEmitter } from 'eventemitter3';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NetworkEvents, type NetworkEventsParts } from '../../service/fronts/docker/network-events.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { definition } from '../harness/fixtures.ts';

const events = suite('events for docker');

const WEB = { ...definition('web', '10.89.0.0/24', '10.89.0.1'), id: 'aa' };
const LAN = { ...definition('lan', '10.90.0.0/24', '10.90.0.1'), id: 'bb', driver: 'macvlan' as const };

/** A container, and definitions, that a test changes; each change is announced as the daemon does. */
class World {
  readonly byName = new Map<string, NetworkDefinition>([WEB, LAN].map((one) => [one.name, one]));
  readonly told: string[] = [];
  readonly events: NetworkEvents;
  readonly #containers = new EventEmitter<{ notification: (notification: object) => void }>();
  readonly #definitions = new EventEmitter<{ changed: () => void }>();
  #snapshot: object | undefined;

  constructor() {
    const parts = {
      containers: { all: () => [], get: () => this.#snapshot, bus: this.#containers },
      definitions: { byName: this.byName, bus: this.#definitions },
    };
    this.events = new NetworkEvents(parts as unknown as NetworkEventsParts);
    this.events.follow(
      ({
        Action,
        Actor: {
          Attributes: { name, type, container = '' },
        },
      }) => {
        this.told.push(`${Action} ${name} ${type} ${container}`.trim());
      },
    );
  }

  /** `on`: the networks that its context names; null: it is gone. */
  container(on: readonly NetworkDefinition[] | null, { rest = true, configured = true } = {}): void {
    const attachments = on?.map(({ id, name }) => ({ networkId: id, network: name }));
    const context = { id: 'c1', configured, attachments };
    this.#snapshot = on === null ? undefined : { status: 'active', hasTag: () => rest, context };
    for (const type of ['state', 'done']) this.#containers.emit('notification', { type, id: 'c1', t: 0 });
  }

  define(change: () => unknown): void {
    change();
    this.#definitions.emit('changed');
  }

  heard(...expected: string[]): void {
    assert.equal(this.told.splice(0), expected);
  }
}

events('a container is told of when it is at rest, and once', () => {
  const world = new World();
  world.container([], { configured: false });
  world.container([WEB], { rest: false });
  world.container([WEB], { configured: false });
  world.heard();
  world.container([WEB]);
  world.container([WEB]);
  world.heard('connect web bridge c1');
  world.container([WEB, LAN], { rest: false });
  world.container([WEB]); // it was undone
  world.heard();
  world.container([LAN]);
  world.heard('disconnect web bridge c1', 'connect lan macvlan c1');
  world.container(null);
  world.container(null);
  world.heard('disconnect lan macvlan c1');
});

events('networks are told of when they come, change and go', () => {
  const world = new World();
  world.define(() => {});
  world.heard();
  const more = { ...WEB, name: 'more', id: 'cc' };
  world.define(() => world.byName.set('more', more));
  world.define(() => world.byName.set('more', { ...more, options: { mtu: '1400' } }));
  world.define(() => world.byName.delete('more'));
  world.heard('create more bridge', 'update more bridge', 'destroy more bridge');
});

events('the past is kept, but not for ever', () => {
  const world = new World();
  const before = Date.now();
  for (let n = 0; n < 5000; n++) world.container(n % 2 === 0 ? [WEB] : []);
  const kept = world.events.since(before);
  assert.is(kept.length, 4096);
  assert.is(kept.at(-1)?.Action, 'disconnect');
  assert.is(world.events.since(Date.now() + 1000).length, 0);
});

events.run();
