/**
 * What is said of an overlay that this host takes part in: to who asks how it is, to who wants to attach a container, and to the doctor.
 *
 * Guarantees: what etcd has answered, and since when, is in each of them.
 */
import type { ActorRefFrom } from 'xstate';
import type { overlayMachine } from '../../machines/overlay.ts';
import type { Seen } from '../../plan/overlay/peers.ts';
import { stateName } from '../../plan/states.ts';
import type { OverlayFact } from '../../plan/why/facts.ts';
import type { OverlayView } from '../../state/answers/overlay.ts';
import type { Fault } from '../../state/faults.ts';
import type { Peer } from '../../state/overlay.ts';
import { defectOf } from '../records/snapshot.ts';
import type { Follower } from './follower.ts';
import type { Outage } from './outage.ts';

export interface Running {
  actor: ActorRefFrom<typeof overlayMachine>;
  follower: Follower;
  /** What the store has; null before the first list. */
  seen: Seen | null;
  /** Keys that were refused and told, with the reason. */
  refused: Map<string, string>;
  peers: readonly Peer[];
  /** The shares that the kernel has: while a network is renumbered, those that it had. No peer may have one of them until then. */
  settled: readonly string[];
  outage: Outage;
  /** Milliseconds since the epoch: since when nothing can be attached; null while something can. */
  closedAt: number | null;
  renumbered: OverlayFact['renumbered'];
}

/** `left`: seconds until the lease of its shares may end; null if that is not known. */
export function factOf(
  network: string,
  { actor, closedAt, outage, renumbered }: Running,
  left: number | null,
): OverlayFact {
  const state = actor.getSnapshot();
  const { held, fault, attempts } = state.context;
  return {
    network,
    state: stateName(state),
    fault: defectOf(state, `overlay ${network}`) ?? fault,
    attempts,
    shares: held?.subnets ?? [],
    closedAt,
    leaseEnds: held === null || left === null ? null : Date.now() + left * 1000,
    outage: outage.now,
    renumbered,
  };
}

export const absent = (network: string, fault: Fault): OverlayFact => ({
  network,
  state: 'absent',
  fault,
  attempts: 0,
  shares: [],
  closedAt: null,
  leaseEnds: null,
  outage: null,
  renumbered: null,
});

export function viewOf(running: Running, left: number | null): OverlayView {
  const { actor, refused, peers, follower } = running;
  const { host, fault } = actor.getSnapshot().context;
  const { state, shares, closedAt, leaseEnds, outage, renumbered } = factOf('', running, left);
  return {
    state,
    host,
    shares: [...shares],
    peers: [...peers],
    agreed_ms: follower.agreedAt === null ? null : Math.round(performance.now() - follower.agreedAt),
    refused: Object.fromEntries(refused),
    fault,
    closed_since: closedAt,
    lease_ends: leaseEnds === null ? null : Math.round(leaseEnds),
    outage: outage,
    renumbered: renumbered === null ? null : { at: renumbered.at, from: [...renumbered.from], to: [...renumbered.to] },
  };
}

/** Returns why no container may be attached now. */
export function closedFault(name: string, { actor, outage }: Running): Fault {
  const { fault } = actor.getSnapshot().context;
  const why = fault?.message ?? `the share of network ${name} is not proven to be this host's`;
  // What a claim has failed with is what etcd has answered.
  const more = outage.text === '' || fault?.code === 'STORE_UNREACHABLE' ? '' : `; ${outage.text}`;
  return { code: 'OVERLAY_FENCED', message: `nothing can be attached to network ${name} now: ${why}${more}` };
}

/** Returns what is not as it should be; null if all is. */
export function troubleOf(name: string, { actor, outage }: Running): Fault | null {
  const state = actor.getSnapshot();
  const fault = defectOf(state, `overlay ${name}`) ?? state.context.fault;
  const { text } = outage;
  if (text === '' || fault?.code === 'STORE_UNREACHABLE') return fault;
  if (fault !== null) return { ...fault, message: `${fault.message}; ${text}` };
  return { code: 'STORE_UNREACHABLE', message: `${text}; network ${name} goes on with the hosts that are known` };
}
