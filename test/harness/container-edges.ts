/**
 * The transitions of the container machine, and those that no walk can take.
 *
 * Guarantees: read from the shipped machine, so a new transition must be taken.
 * Limits: impossible transitions are listed here by hand, with the reason; container.driven.test.ts checks that no
 * other is missed.
 */
import type { AnyTransitionDefinition } from 'xstate';
import { containerMachine } from '../../machines/container/container.ts';
import { statesOf } from './machines.ts';

/** Every transition there is: "container.up configure 0". */
export const EDGES = [containerMachine.root, ...statesOf(containerMachine.root)].flatMap((node) => [
  ...(node.always ?? []).map((_, n) => `${node.id}  ${n}`),
  ...[...node.transitions].flatMap(([type, all]) => all.map((_, n) => `${node.id} ${type} ${n}`)),
]);

/** Transitions of the steps that operations have alike, and that this kind of change cannot take. */
const IMPOSSIBLE = [
  // A connection brings one network and no ports.
  /^container\.connecting\.(leasing {2}0|checkingPlan {2}[12]|choosingConnection {2}[02])$/,
  /^container\.connecting\.exposing xstate/,
  /^container\.connecting\.attaching xstate\.done\.actor\.attachment 1$/,
  // An uplink is started by configure alone.
  /^container\.(connecting|publishing)\.(startingUplink|checkingUplink) /,
  // Published ports come without networks, there is at least one, and their plan cannot fail.
  /^container\.publishing\.(leasing {2}0|checkingPlan {2}0|choosingConnection {2}[01])$/,
  /^container\.publishing\.(attaching |naming xstate|finishing {2}0|publishing {2}0)/,
  // A container that shares a namespace has no link, port or uplink that could be missing.
  /^container\.degraded publish 0$/,
];

export const isPossible = (edge: string): boolean => !IMPOSSIBLE.some((pattern) => pattern.test(edge));

const edges = new WeakMap<object, string>();

/** "container.up configure 0": the first of the state's transitions for this event. */
export function edgeOf(transition: AnyTransitionDefinition): string {
  let edge = edges.get(transition);
  if (edge === undefined) {
    const { source, eventType } = transition;
    const all = eventType === '' ? (source.always ?? []) : (source.transitions.get(eventType) ?? []);
    edge = `${source.id} ${eventType} ${all.indexOf(transition)}`;
    edges.set(transition, edge);
  }
  return edge;
}
