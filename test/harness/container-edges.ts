/**
 * The transitions of the container machine, and which of them no walk can take.
 *
 * Guarantees: read from the machine that ships, so a new transition is one that has to be taken.
 * Limits: what is impossible is said here by hand, and why; container.driven.test.ts counts that no other is missed.
 */
import type { AnyTransitionDefinition } from 'xstate';
import { containerMachine } from '../../machines/container.ts';
import { statesOf } from './machines.ts';

/** Every transition there is: "container.up configure 0". */
export const EDGES = [containerMachine.root, ...statesOf(containerMachine.root)].flatMap((node) => [
  ...(node.always ?? []).map((_, n) => `${node.id}  ${n}`),
  ...[...node.transitions].flatMap(([type, all]) => all.map((_, n) => `${node.id} ${type} ${n}`)),
]);

/** Ways that the stages of a change have alike, and that this kind of change cannot go. */
const IMPOSSIBLE = [
  // A container without networks has no names, and its ports lead nowhere.
  /^container\.configuring\.leasing leased [56]$/,
  /^container\.configuring\.exposing xstate\.done\.actor\.expose [23]$/,
  // Whoever has an uplink has no network, and its machine ends in no error.
  /^container\.configuring\.startingUplink xstate\.done\.actor\.uplink [23]$/,
  // A connection brings one network and no ports.
  /^container\.connecting\.leasing ( \d|leased [1-35-8])$/,
  /^container\.(connecting|publishing)\.startingUplink /,
  /^container\.connecting\.exposing /,
  /^container\.connecting\.attaching xstate\.done\.actor\.attachment 1$/,
  // Ports come without networks, and there is at least one.
  /^container\.publishing\.leasing ( \d|leased [0345])$/,
  /^container\.publishing\.exposing xstate\.done\.actor\.expose [012]$/,
  /^container\.publishing\.(attaching|naming) /,
  // Whoever has names has a link, and whoever has ports or names has a namespace.
  /^container\.rollingBack\.unnaming unnamed [12]$/,
  /^container\.tearingDown\.unexposing xstate\.\w+\.actor\.unexpose [56]$/,
  /^container\.tearingDown\.unpublishing xstate\.\w+\.actor\.unpublish [45]$/,
  /^container\.tearingDown\.unnaming unnamed [134]$/,
  // Whoever shares a namespace has no link, port or uplink that could be missing.
  /^container\.degraded publish 0$/,
  /^container\.tearingDown\.stoppingUplink xstate\.\w+\.actor\.uplink [12]$/,
];

export const isPossible = (edge: string): boolean => !IMPOSSIBLE.some((pattern) => pattern.test(edge));

const edges = new WeakMap<object, string>();

/** "container.up configure 0": of the state's transitions for this event the first. */
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
