/**
 * Tells Docker's clients what happens to networks: one is made, changed or removed, a container is on it, or not any more.
 *
 * Guarantees: what is told is what containers and definitions are: each event is a difference between what was told and what is, once
 * a container is at rest. It comes no matter who made the change, and on which socket.
 * Limits: the past is that of this daemon since its start, at most KEPT events. A network whose definition others change is told when a
 * request changes it.
 */
import { EventEmitter } from 'eventemitter3';
import { rests } from '../../../plan/states.ts';
import type { DockerEvent } from '../../../state/answers/docker.ts';
import type { Notification } from '../../../state/answers/notification.ts';
import type { NetworkDefinition } from '../../../state/network.ts';
import type { Containers } from '../../containers/containers.ts';
import type { Definitions } from '../../networks/definitions.ts';
import type { ContainerSnapshot } from '../../records/snapshot.ts';

const KEPT = 4096;

interface Named {
  id: string;
  name: string;
  driver: string;
}

export interface NetworkEventsParts {
  containers: Pick<Containers, 'all' | 'get' | 'bus'>;
  definitions: Pick<Definitions, 'byName' | 'bus'>;
}

export class NetworkEvents {
  readonly #parts: NetworkEventsParts;
  readonly #bus = new EventEmitter<{ event: (event: DockerEvent) => void }>();
  #kept: DockerEvent[] = [];
  /** By id. */
  #networks: ReadonlyMap<string, NetworkDefinition>;
  /** The networks that each container is on, by their ids. */
  readonly #on = new Map<string, ReadonlyMap<string, Named>>();

  constructor(parts: NetworkEventsParts) {
    this.#parts = parts;
    const { containers, definitions } = parts;
    this.#networks = this.#defined();
    for (const snapshot of containers.all()) this.#on.set(snapshot.context.id, this.#networksOf(snapshot));
    definitions.bus.on('changed', () => this.#compareNetworks());
    containers.bus.on('notification', (notification) => this.#heard(notification));
  }

  /** Returns the events from this moment on, the oldest first. */
  since(t: number): DockerEvent[] {
    return this.#kept.slice(-KEPT).filter(({ timeNano }) => timeNano / 1e6 >= t);
  }

  /** Calls the listener for each event from now on. Returns how to end it. */
  follow(listener: (event: DockerEvent) => void): () => void {
    this.#bus.on('event', listener);
    return () => void this.#bus.off('event', listener);
  }

  #defined(): ReadonlyMap<string, NetworkDefinition> {
    return new Map([...this.#parts.definitions.byName.values()].map((one) => [one.id, one]));
  }

  #compareNetworks(): void {
    const before = this.#networks;
    this.#networks = this.#defined();
    for (const [id, network] of before) if (!this.#networks.has(id)) this.#tell('destroy', network);
    for (const [id, network] of this.#networks) {
      const known = before.get(id);
      if (known === undefined) this.#tell('create', network);
      else if (known !== network) this.#tell('update', network);
    }
  }

  #heard({ type, id }: Notification): void {
    if ((type === 'state' || type === 'done' || type === 'failed') && id !== null) this.#compareContainer(id);
  }

  #compareContainer(id: string): void {
    const snapshot = this.#parts.containers.get(id);
    if (snapshot !== undefined && !rests(snapshot)) return;
    const before = this.#on.get(id) ?? new Map<string, Named>();
    const now = snapshot === undefined ? new Map<string, Named>() : this.#networksOf(snapshot);
    if (snapshot === undefined) this.#on.delete(id);
    else this.#on.set(id, now);
    for (const [key, network] of before) if (!now.has(key)) this.#tell('disconnect', network, id);
    for (const [key, network] of now) if (!before.has(key)) this.#tell('connect', network, id);
  }

  #networksOf({ context }: ContainerSnapshot): ReadonlyMap<string, Named> {
    if (!context.configured) return new Map();
    return new Map(
      context.attachments.map(({ networkId: id, network: name }) => [
        id,
        { id, name, driver: this.#networks.get(id)?.driver ?? 'bridge' },
      ]),
    );
  }

  #tell(Action: DockerEvent['Action'], { id, name, driver }: Named, container?: string): void {
    const now = Date.now();
    const event: DockerEvent = {
      Type: 'network',
      Action,
      Actor: { ID: id, Attributes: { ...(container === undefined ? {} : { container }), name, type: driver } },
      scope: 'local',
      time: Math.floor(now / 1000),
      timeNano: now * 1e6,
    };
    this.#kept.push(event);
    // Now and then, because each time would move them all.
    if (this.#kept.length >= 2 * KEPT) this.#kept = this.#kept.slice(-KEPT);
    this.#bus.emit('event', event);
  }
}
