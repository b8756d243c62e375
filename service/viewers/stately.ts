/**
 * What XState says about all machines, in the shapes of @statelyai/inspect: for tools that speak its protocol.
 *
 * Guarantees: first every actor that there is, parents before children; then each event, and each snapshot, as XState inspects
 * them. Attached while somebody follows, and not before. The definition of a machine is sent once, and has a number.
 * Limits: a follower that was away begins anew. Costs more than the inspector's own stream: each snapshot has its whole context.
 */
import type { AnyActorRef, InspectionEvent, Subscription } from 'xstate';
import type { StatelyEvent, StatelyMessage } from '../../state/answers/inspector.ts';
import type { Roster } from '../containers/roster.ts';
import type { Shared } from '../outsides/shared.ts';
import { messageText } from '../requests/server-sent.ts';

/** Names the version of the package that has these shapes. */
const VERSION = '0.7.2';

interface StatelyParts {
  roster: Pick<Roster, 'bus' | 'entries'>;
  shared: Pick<Shared, 'bus' | 'all'>;
}

export type Write = (text: string, beginning?: true) => void;

/** Sends a follower everything; returns what ends it. */
export function followInspection({ roster, shared }: StatelyParts, write: Write): () => void {
  const definitions = new Map<object, number>();
  const observed = new Map<AnyActorRef, Subscription>();
  const told = new WeakSet<AnyActorRef>();
  let n = 0;
  const send = ({ event, data }: StatelyMessage, beginning?: true) =>
    write(messageText(event, JSON.stringify(data, readable), null), beginning);

  const base = (actor: AnyActorRef, rootId: string) => ({
    rootId,
    sessionId: actor.sessionId,
    createdAt: String(Date.now()),
    id: String(++n),
    _version: VERSION,
  });
  const definitionOf = (actor: AnyActorRef, beginning?: true): number | string => {
    const { config } = (actor as unknown as { logic: { config?: unknown } }).logic;
    if (typeof config !== 'object' || config === null || !('states' in config)) return JSON.stringify({ id: actor.id });
    const known = definitions.get(config);
    if (known !== undefined) return known;
    const number = definitions.size;
    definitions.set(config, number);
    send({ event: 'definition', data: { n: number, definition: JSON.stringify(config, named) } }, beginning);
    return number;
  };
  const tellOf = (actor: AnyActorRef, rootId: string, beginning?: true) => {
    told.add(actor);
    const definition = definitionOf(actor, beginning);
    const { _parent: parent } = actor;
    const data: StatelyEvent = {
      type: '@xstate.actor',
      name: actor.id,
      snapshot: actor.getSnapshot() as Record<string, unknown>,
      definition,
      ...(parent === undefined ? {} : { parentId: parent.sessionId }),
      ...base(actor, rootId),
    };
    send({ event: 'inspection', data }, beginning);
  };
  const tellOfAll = (actor: AnyActorRef, rootId: string, beginning?: true) => {
    tellOf(actor, rootId, beginning);
    const { children = {} } = actor.getSnapshot() as { children?: Record<string, AnyActorRef | undefined> };
    for (const child of Object.values(children)) if (child !== undefined) tellOfAll(child, rootId, beginning);
  };
  const observe = (root: AnyActorRef, beginning?: true) => {
    tellOfAll(root, root.sessionId, beginning);
    observed.set(
      root,
      root.system.inspect((inspection: InspectionEvent) => inspected(root, inspection)),
    );
  };
  const inspected = (root: AnyActorRef, inspection: InspectionEvent) => {
    const actor = inspection.actorRef as AnyActorRef;
    if (inspection.type !== '@xstate.event' && inspection.type !== '@xstate.snapshot') return;
    // Not when it is made, when it has no snapshot yet; and one that is left before it starts is not told of.
    if (!told.has(actor)) tellOf(actor, inspection.rootId);
    const more = base(actor, inspection.rootId);
    if (inspection.type === '@xstate.event') {
      const { event, sourceRef } = inspection;
      const source = sourceRef === undefined ? {} : { sourceId: (sourceRef as AnyActorRef).sessionId };
      send({ event: 'inspection', data: { type: inspection.type, event, ...source, ...more } });
    } else {
      const { event, snapshot } = inspection;
      send({
        event: 'inspection',
        data: { type: inspection.type, event, snapshot: snapshot as unknown as Record<string, unknown>, ...more },
      });
      if (actor === root && snapshot.status !== 'active') forget(root);
    }
  };
  const forget = (root: AnyActorRef) => {
    observed.get(root)?.unsubscribe();
    observed.delete(root);
  };
  const starting = (_id: string, actor: AnyActorRef) => observe(actor);
  const machines = () => {
    for (const { actor } of shared.all()) if (!observed.has(actor)) observe(actor);
  };

  for (const { actor } of roster.entries.values()) observe(actor, true);
  for (const { actor } of shared.all()) observe(actor, true);
  roster.bus.on('starting', starting);
  shared.bus.on('machines', machines);
  return () => {
    roster.bus.off('starting', starting);
    shared.bus.off('machines', machines);
    for (const subscription of observed.values()) subscription.unsubscribe();
    observed.clear();
  };
}

/** Makes errors, maps and sets readable, which have nothing in JSON of their own: a network has its leases in a map. */
function readable(_key: string, value: unknown): unknown {
  if (value instanceof Error) return Object.assign({}, value, { message: value.message });
  if (value instanceof Map) return Object.fromEntries(value);
  return value instanceof Set ? [...value] : value;
}

/** Shows a function in a machine's config by its name, as the package does. */
const named = (_key: string, value: unknown): unknown => (typeof value === 'function' ? { type: value.name } : value);
