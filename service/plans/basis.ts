/**
 * Says what a plan rests on: the state of the container and of whoever has a part in it, the networks, what these grant, and the path.
 *
 * Guarantees: pure; two plans with one basis do the same. Each line says what it is about, so that a difference can be told.
 * Limits: the path of what containers share is no part of it: others come and go, and it is of no matter who makes a bridge.
 */
import { createHash } from 'node:crypto';
import { stateName } from '../../plan/states.ts';
import { containerIdOf } from '../../plan/owner.ts';
import type { Granted } from '../../plan/containers/change.ts';
import { describe } from '../../plan/ports/ports.ts';
import type { PlanStep } from '../../state/answers/container/plan.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { Admitted } from '../containers/admission.ts';
import type { ContainerSnapshot } from '../records/snapshot.ts';

/** Says, by what it is about, how that is. */
export type Basis = Readonly<Record<string, string>>;

const digest = (what: unknown): string => createHash('sha256').update(JSON.stringify(what)).digest('hex').slice(0, 12);

/**
 * Describes how a container is; null for none. Every event that it accepts changes this, and so does a teardown that its users
 * delay.
 */
export function standing(snapshot: ContainerSnapshot | null): string {
  if (snapshot === null) return 'not there';
  const { owner, operation, ownerGone } = snapshot.context;
  const kept = ownerGone ? ', kept for its users' : '';
  return `${stateName(snapshot)} after ${operation.type} (event ${operation.n} of ${owner})${kept}`;
}

export function basisOf(
  id: string,
  admitted: Admitted,
  { granted, steps }: { granted: Granted | null; steps: readonly PlanStep[] },
  around: {
    definition(name: string): NetworkDefinition | undefined;
    container(id: string): ContainerSnapshot | null;
    /** Names the container that goes when this one does; null for none. */
    follower: string | null;
  },
): Basis {
  const lines: [string, string][] = [[`container ${id}`, standing(admitted.before)]];
  if (admitted.before === null) {
    const { boundTo, exit, request, outside, netns } = admitted.input;
    lines.push(['what is asked for', digest([boundTo, exit, request, outside, netns])]);
  } else {
    const { event } = admitted;
    if ('users' in event) lines.push(['the users of its namespace', event.users.join(', ') || 'nobody']);
    const giver = event.type === 'publish' && event.from !== null ? containerIdOf(event.from.owner) : null;
    if (giver !== null) lines.push([`container ${giver}`, standing(around.container(giver))]);
    if (around.follower !== null) lines.push(['what goes with it', `container ${around.follower}`]);
    lines.push(['what is asked for', digest(event)]);
  }
  for (const { network, addresses, mac, ...terms } of granted?.leases ?? []) {
    lines.push([`network ${network}`, `defined as ${digest([around.definition(network), terms])}`]);
    lines.push([`what ${network} grants`, [...addresses.map(({ address }) => address), mac].join(', ')]);
  }
  if (granted !== null && granted.ports.length > 0)
    lines.push([
      'the host ports',
      granted.ports.map((port) => `${describe(port)} to ${port.containerPort}`).join(', '),
    ]);
  lines.push(['the path', digest(steps.filter(isOwn).map(({ machine, state, effect }) => [machine, state, effect]))]);
  return Object.fromEntries(lines);
}

/** Returns true for a step of the container and what it invokes, and of another container that gives ports away. */
const isOwn = ({ machine }: PlanStep): boolean =>
  ['container', 'attachment', 'uplink'].includes(machine) || machine.startsWith('container ');

/** Returns what is not as it was, in words. */
export function differences(before: Basis, now: Basis): string[] {
  const labels = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return labels
    .filter((label) => before[label] !== now[label])
    .map((label) => `${label}: ${now[label] ?? 'nothing'} instead of ${before[label] ?? 'nothing'}`);
}
