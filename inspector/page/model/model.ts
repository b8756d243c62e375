/**
 * Holds what the page knows of the daemon, and changes it by a batch of messages.
 *
 * Guarantees: pure. A part that no message of the batch concerns stays the same object, so who shows only that part need not
 * look again. Bounded: the trail of a container, the notifications, and the list of ids that are gone.
 * Limits: an older past than the trail is asked for (GET /v1/containers/ID/history).
 */
import type { ContainerView, Hello, Line, Message, NetworkDefinition, Notification, SharedView } from './wire.ts';

/** Holds what happened to one container since the page has looked, as its journal will have it. */
export type Trail = readonly (Line & { edges?: string[] })[];

export interface Model {
  hello: Hello | null;
  containers: ReadonlyMap<string, ContainerView>;
  shared: ReadonlyMap<string, SharedView>;
  networks: readonly NetworkDefinition[];
  trails: ReadonlyMap<string, Trail>;
  /** The newest last. */
  notifications: readonly Notification[];
  /** Ids of containers that went while the page looked on. */
  gone: ReadonlySet<string>;
}

export const EMPTY: Model = {
  hello: null,
  containers: new Map(),
  shared: new Map(),
  networks: [],
  trails: new Map(),
  notifications: [],
  gone: new Set(),
};

const TRAIL = 200;
const NOTIFICATIONS = 500;
const GONE = 1000;

const capped = <T>(list: readonly T[], limit: number): readonly T[] =>
  list.length > limit ? list.slice(list.length - limit) : list;

/** Copies a part when it is first changed, so that a batch copies each part once. */
class Draft {
  readonly before: Model;
  readonly after: { -readonly [Part in keyof Model]: Model[Part] };
  readonly #notified: Notification[] = [];

  constructor(before: Model) {
    this.before = before;
    this.after = { ...before };
  }

  get containers(): Map<string, ContainerView> {
    if (this.after.containers === this.before.containers) this.after.containers = new Map(this.before.containers);
    return this.after.containers as Map<string, ContainerView>;
  }

  get shared(): Map<string, SharedView> {
    if (this.after.shared === this.before.shared) this.after.shared = new Map(this.before.shared);
    return this.after.shared as Map<string, SharedView>;
  }

  get trails(): Map<string, Trail> {
    if (this.after.trails === this.before.trails) this.after.trails = new Map(this.before.trails);
    return this.after.trails as Map<string, Trail>;
  }

  get gone(): Set<string> {
    if (this.after.gone === this.before.gone) this.after.gone = new Set(this.before.gone);
    return this.after.gone as Set<string>;
  }

  notify(notification: Notification): void {
    this.#notified.push(notification);
  }

  done(): Model {
    if (this.#notified.length > 0)
      this.after.notifications = capped([...this.after.notifications, ...this.#notified], NOTIFICATIONS);
    return this.after;
  }
}

/** Returns the model after these messages, in order. */
export function reduce(model: Model, messages: readonly Message[]): Model {
  if (messages.length === 0) return model;
  const draft = new Draft(model);
  for (const message of messages) apply(draft, message);
  return draft.done();
}

function apply(draft: Draft, message: Message): void {
  switch (message.event) {
    case 'hello':
      draft.after.hello = message.data;
      // What follows is everything there is, and what was known before may have gone meanwhile; what has happened stays true.
      if (!message.data.resumed)
        Object.assign(draft.after, { ...EMPTY, hello: message.data, notifications: draft.after.notifications });
      break;
    case 'containers':
      draft.after.containers = new Map(message.data.map((view) => [view.id, view]));
      break;
    case 'shared':
      draft.after.shared = new Map(message.data.map((view) => [view.key, view]));
      break;
    case 'networks':
      draft.after.networks = message.data;
      break;
    case 'container':
      draft.containers.set(message.data.id, message.data);
      if (draft.after.gone.has(message.data.id)) draft.gone.delete(message.data.id);
      break;
    case 'gone':
      leave(draft, message.data.id);
      break;
    case 'machine':
      if (message.data.state === 'gone') draft.shared.delete(message.data.key);
      else draft.shared.set(message.data.key, message.data);
      break;
    case 'passage':
      extend(draft, message.data.id, { kind: 'passage', ...message.data });
      break;
    case 'effect':
      extend(draft, message.data.id, { kind: 'effect', ...message.data });
      break;
    case 'notification':
      draft.notify(message.data);
      break;
  }
}

function extend(draft: Draft, id: string, line: Trail[number]): void {
  draft.trails.set(id, capped([...(draft.after.trails.get(id) ?? []), line], TRAIL));
}

/** The trail of a container that is gone stays while there is room: somebody may be looking at it. */
function leave(draft: Draft, id: string): void {
  draft.containers.delete(id);
  draft.gone.add(id);
  if (draft.gone.size <= GONE) return;
  const [oldest = id] = draft.gone;
  draft.gone.delete(oldest);
  draft.trails.delete(oldest);
}
