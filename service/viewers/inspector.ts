/**
 * The stream of the inspector: what all machines are doing, for everybody who looks.
 *
 * Guarantees: nothing is attached to any machine, and nothing is kept, while nobody looks. A viewer gets everything as it is,
 * then every passage and every effect that ends, in order, and the last view of each object that changed. Messages go out at most
 * ten times a second, all of them in one write. A viewer that comes back with the id of its last message gets what it missed, or
 * everything anew.
 * Limits: the machines are listened to for LINGER_MS after the last viewer has left, so that it can come back. A change that only
 * a process knows of (the pid of a forwarder) is not shown.
 */
import type { EffectEnd, Hello, Passage as PassageMessage } from '../../state/answers/inspector.ts';
import type { ContainerView } from '../../state/answers/container/container.ts';
import type { Notification } from '../../state/answers/notification.ts';
import { FaultError } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Roster } from '../containers/roster.ts';
import type { Definitions } from '../networks/definitions.ts';
import type { Shared } from '../outsides/shared.ts';
import { HEARTBEAT_MS, heartbeat, messageText, RETRY } from '../requests/server-sent.ts';
import type { Passage } from '../records/passages.ts';
import type { ContainerActor, ContainerSnapshot } from '../records/snapshot.ts';
import { Ring } from './ring.ts';
import { SharedSight, type SharedSightParts } from './shared-sight.ts';
import { followInspection, type Write } from './stately.ts';
import { listen, type Listener } from './transitions.ts';

/** The pause between two writes. */
const TICK_MS = 100;
/** How long the machines are listened to after the last viewer has left: a browser comes back within seconds. */
const LINGER_MS = 10_000;
/** Bounds the memory for viewers: each may have a megabyte that it has not read. */
const MAX_VIEWERS = 32;

export interface Viewer {
  /** Writes to the viewer. `beginning`: it is that of the stream, and may be long. */
  write(text: string, beginning?: true): void;
}

interface InspectorParts {
  roster: Pick<Roster, 'bus' | 'entries'> & SharedSightParts['roster'];
  shared: Pick<Shared, 'bus'> & SharedSightParts['shared'];
  definitions: Pick<Definitions, 'bus'> & SharedSightParts['definitions'];
  networks: () => NetworkDefinition[];
  view: (snapshot: ContainerSnapshot) => ContainerView;
  /** Describes this daemon to viewers. */
  daemon: Pick<Hello, 'version' | 'instance' | 'pid' | 'run'>;
}

/** Describes a container that is listened to. */
interface Followed {
  actor: ContainerActor;
  listener: Listener;
  /** Says when its own machine came into its present state; null if nobody looked then. */
  since: number | null;
}

export class Inspector {
  readonly #parts: InspectorParts;
  readonly #ring: Ring;
  readonly #viewers = new Set<Viewer>();
  readonly #followed = new Map<string, Followed>();
  #followers = 0;
  #shared: SharedSight | null = null;
  /** Holds the messages that go out with the next write. */
  #waiting: string[] = [];
  /** Holds the containers whose view has changed since the last write. */
  readonly #changed = new Set<string>();
  #networksChanged = false;
  #tick: NodeJS.Timeout | null = null;
  #heartbeat: NodeJS.Timeout | null = null;
  #linger: NodeJS.Timeout | null = null;

  constructor(parts: InspectorParts) {
    this.#parts = parts;
    this.#ring = new Ring(parts.daemon.run);
  }

  /** True while machines are listened to. */
  get listening(): boolean {
    return this.#shared !== null;
  }

  /** Throws LIMIT_REACHED if no more may look. */
  refuseTooMany(): void {
    if (this.#viewers.size + this.#followers < MAX_VIEWERS) return;
    throw new FaultError('LIMIT_REACHED', `${MAX_VIEWERS} inspectors are open`);
  }

  /** Adds a viewer; returns what removes it. `last`: the id of the last message that it has. */
  join(viewer: Viewer, last: string | null, maySend: boolean): () => void {
    if (this.#linger !== null) clearTimeout(this.#linger);
    this.#linger = null;
    if (!this.listening) this.#begin();
    this.#flush(); // what is under way belongs to those who looked before
    const missed = last === null ? null : this.#ring.since(last);
    const { daemon } = this.#parts;
    const hello: Hello = { ...daemon, t: Date.now(), resumed: missed !== null, may_send: maySend };
    viewer.write(`${RETRY}${messageText('hello', JSON.stringify(hello), null)}`);
    viewer.write(missed === null ? this.#everything() : missed.join(''), true);
    this.#viewers.add(viewer);
    return () => {
      if (!this.#viewers.delete(viewer) || this.#viewers.size > 0) return;
      this.#linger = setTimeout(() => this.#end(), LINGER_MS).unref();
    };
  }

  /** Sends a follower what XState says itself (stately.ts); returns what ends it. */
  followInspection(write: Write): () => void {
    const end = followInspection(this.#parts, write);
    this.#followers++;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#followers--;
      end();
    };
  }

  #everything(): string {
    const { roster, networks, view } = this.#parts;
    const containers = JSON.stringify(roster.all().map((snapshot) => view(snapshot)));
    const shared = JSON.stringify(this.#shared?.all() ?? []);
    return (
      messageText('containers', containers, null) +
      messageText('shared', shared, null) +
      // Whoever has this one has everything.
      messageText('networks', JSON.stringify(networks()), this.#ring.last)
    );
  }

  // --- While somebody looks -----------------------------------------------------------------------------------------

  #begin(): void {
    const { roster, shared, definitions } = this.#parts;
    for (const [id, { actor }] of roster.entries) this.#follow(id, actor);
    this.#shared = new SharedSight(this.#parts, () => this.#wake());
    roster.bus.on('starting', this.#follow);
    roster.bus.on('passage', this.#passed);
    roster.bus.on('notification', this.#notified);
    shared.bus.on('machines', this.#machinesChanged);
    definitions.bus.on('changed', this.#definitionsChanged);
    this.#heartbeat = setInterval(() => this.#write(heartbeat(null)), HEARTBEAT_MS).unref();
  }

  #end(): void {
    const { roster, shared, definitions } = this.#parts;
    roster.bus.off('starting', this.#follow);
    roster.bus.off('passage', this.#passed);
    roster.bus.off('notification', this.#notified);
    shared.bus.off('machines', this.#machinesChanged);
    definitions.bus.off('changed', this.#definitionsChanged);
    for (const { listener } of this.#followed.values()) listener.end();
    this.#followed.clear();
    this.#shared?.end();
    this.#shared = null;
    for (const timer of [this.#heartbeat, this.#tick]) if (timer !== null) clearTimeout(timer);
    this.#tick = null;
    this.#waiting = [];
    this.#changed.clear();
    this.#networksChanged = false;
    this.#ring.forget();
  }

  readonly #follow = (id: string, actor: ContainerActor): void => {
    this.#followed.get(id)?.listener.end(); // of the actor that this one replaces
    const listener = listen(id, actor, {
      changed: () => this.#containerChanged(id),
      ended: (effect) => this.#say('effect', effect),
      stayed: (passage) => this.#say('passage', passage),
    });
    this.#followed.set(id, { actor, listener, since: null });
    this.#containerChanged(id);
  };

  readonly #passed = (id: string, { own, session, entry }: Passage): void => {
    const followed = this.#followed.get(id);
    if (followed === undefined) return;
    if (own) followed.since = performance.now();
    const { edges } = followed.listener.taken(session);
    this.#say('passage', passageMessage(id, entry, edges));
  };

  readonly #notified = (notification: Notification): void => {
    if (notification.type !== 'state') return this.#say('notification', notification);
    const { id, from, to, t } = notification;
    const followed = this.#followed.get(id);
    if (followed === undefined || (to !== 'gone' && to !== 'error')) return; // a passage says the same
    // The journal has no passage of a machine's end.
    const { event, edges } = followed.listener.taken(followed.actor.sessionId);
    const ms = followed.since === null ? 0 : Math.round((performance.now() - followed.since) * 1000) / 1000;
    this.#say('passage', { id, t, machine: 'container', event: event === '' ? to : event, from, to, ms, edges });
    if (to === 'error') return this.#containerChanged(id);
    followed.listener.end();
    this.#followed.delete(id);
    this.#say('gone', { id });
    this.#containerChanged(id); // what it used has changed with it
  };

  #containerChanged(id: string): void {
    this.#changed.add(id);
    this.#wake();
  }

  readonly #machinesChanged = (): void => {
    this.#shared?.machinesChanged();
    this.#wake();
  };

  readonly #definitionsChanged = (): void => {
    this.#networksChanged = true;
    this.#wake();
  };

  #say(event: string, data: PassageMessage | EffectEnd | Notification | { id: string }): void {
    this.#waiting.push(this.#ring.add(event, JSON.stringify(data)));
    this.#wake();
  }

  #wake(): void {
    this.#tick ??= setTimeout(() => this.#flush(), TICK_MS).unref();
  }

  /** Writes what waits, and the last view of everything that has changed. */
  #flush(): void {
    if (this.#tick !== null) clearTimeout(this.#tick);
    this.#tick = null;
    const { roster, networks, view } = this.#parts;
    for (const id of this.#changed) {
      const snapshot = roster.get(id);
      if (snapshot !== undefined) this.#waiting.push(this.#ring.add('container', JSON.stringify(view(snapshot))));
    }
    for (const json of this.#shared?.changes(this.#changed) ?? []) this.#waiting.push(this.#ring.add('machine', json));
    this.#changed.clear();
    if (this.#networksChanged) this.#waiting.push(this.#ring.add('networks', JSON.stringify(networks())));
    this.#networksChanged = false;
    if (this.#waiting.length > 0) this.#write(this.#waiting.join(''));
    this.#waiting = [];
  }

  #write(text: string): void {
    for (const viewer of this.#viewers) viewer.write(text);
  }
}

function passageMessage(id: string, entry: Passage['entry'], edges: string[]): PassageMessage {
  const { t, machine, event, from, to, ms, fault } = entry;
  return { id, t, machine, event, from, to, ms, ...(fault === undefined ? {} : { fault }), edges };
}
