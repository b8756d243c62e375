/**
 * What the inspector shows: the stream of GET /v1/inspector, a container's machine as it is now, and what XState says of all
 * machines in the shapes of @statelyai/inspect.
 *
 * Guarantees: a message of the stream is one event of text/event-stream: `event` is its name, `data` its JSON. Whoever has the
 * messages after `hello` and applies those that follow has the present state of everything.
 * Limits: views are coalesced (at most ten a second of one object, always the last one). Passages and effects are complete.
 */
import { z } from 'zod';
import { ContainerContext } from '../container.ts';
import { Fault } from '../faults.ts';
import { NetworkDefinition } from '../network.ts';
import { ContainerView } from './container/container.ts';
import { JournalEntry } from './container/history.ts';
import { Notification } from './notification.ts';

const t = z.number().describe('Milliseconds since the epoch');

export const Hello = z.object({
  version: z.string(),
  instance: z.string(),
  pid: z.int(),
  run: z.string().describe('This run of the daemon; the first part of the ids of its messages'),
  t,
  resumed: z.boolean().describe('False: what was known before is void, and all of it follows'),
  may_send: z.boolean().describe('False: events that are sent from here are refused'),
});
export type Hello = z.infer<typeof Hello>;

export const SharedView = z.object({
  kind: z.enum([
    'network',
    'firewall',
    'firewalld',
    'ports',
    'resolver',
    'rootless',
    'prepared',
    'forwarder',
    'uplink',
  ]),
  key: z.string().describe('Unique'),
  name: z.string(),
  outside: z.string().nullable(),
  state: z.string().describe('That of its machine. "gone": there is no such machine any more'),
  users: z.array(z.string()).describe('Ids of containers; of a firewall and of firewalld also names of networks'),
  fault: Fault.nullable(),
  detail: z.record(z.string(), z.unknown()).describe('A few facts of this kind of machine'),
});
export type SharedView = z.infer<typeof SharedView>;

export const Passage = JournalEntry.extend({
  id: z.string().describe('The container'),
  edges: z
    .array(z.string())
    .describe('The transitions taken: SOURCE|EVENT|INDEX, as the charts of the machines have them'),
});
export type Passage = z.infer<typeof Passage>;

export const EffectEnd = z.object({
  id: z.string().describe('The container'),
  t: t.describe('When it ended'),
  machine: z.string(),
  name: z.string(),
  ms: z.number().describe('How long it took, with its wait for the disk and for the effect before it'),
  ok: z.boolean(),
  fault: Fault.optional(),
});
export type EffectEnd = z.infer<typeof EffectEnd>;

const message = <Name extends string, Data extends z.ZodType>(event: Name, data: Data) =>
  z.object({ event: z.literal(event), data });

export const InspectorMessage = z.discriminatedUnion('event', [
  message('hello', Hello),
  message('containers', z.array(ContainerView)),
  message('shared', z.array(SharedView)),
  message('networks', z.array(NetworkDefinition)),
  message('container', ContainerView),
  message('gone', z.object({ id: z.string() })),
  message('machine', SharedView),
  message('passage', Passage),
  message('effect', EffectEnd),
  message('notification', Notification),
]);
export type InspectorMessage = z.infer<typeof InspectorMessage>;

/** Describes a child of a machine, as XState persists it. */
const MachineChild = z.object({
  src: z.string(),
  snapshot: z.record(z.string(), z.unknown()).describe('`status`, and more by the kind of the child'),
  systemId: z.string().optional(),
  syncSnapshot: z.boolean().optional(),
});

export const MachineSnapshot = z.object({
  id: z.string(),
  value: z.unknown().describe("XState's state value"),
  state: z.string().describe('The same as a path: "configuring.leasing"'),
  context: ContainerContext,
  children: z.record(z.string(), MachineChild).describe('What runs in this state, by id, as XState persists it'),
  legal: z.array(z.string()).describe('Events that it accepts now'),
});
export type MachineSnapshot = z.infer<typeof MachineSnapshot>;

/** Holds what each event of @statelyai/inspect has. */
const base = {
  rootId: z.string(),
  sessionId: z.string(),
  createdAt: z.string().describe('Milliseconds since the epoch'),
  id: z.string(),
  _version: z.string(),
};
/** Have the shape that XState gives them, which may grow. */
const event = z.record(z.string(), z.unknown());
const snapshot = z.record(z.string(), z.unknown());

const StatelyEvent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('@xstate.actor'),
    name: z.string(),
    snapshot,
    definition: z.union([z.string(), z.int()]).describe('JSON; the number of a machine that has been defined'),
    parentId: z.string().optional(),
    ...base,
  }),
  z.object({ type: z.literal('@xstate.event'), event, sourceId: z.string().optional(), ...base }),
  z.object({ type: z.literal('@xstate.snapshot'), event, snapshot, ...base }),
]);
export type StatelyEvent = z.infer<typeof StatelyEvent>;

/**
 * `inspection` is what a client of that package receives, but that the definition of a machine is a number: that of a `definition`
 * that came before.
 */
export const StatelyMessage = z.discriminatedUnion('event', [
  z.object({ event: z.literal('definition'), data: z.object({ n: z.int(), definition: z.string() }) }),
  z.object({ event: z.literal('inspection'), data: StatelyEvent }),
]);
export type StatelyMessage = z.infer<typeof StatelyMessage>;
