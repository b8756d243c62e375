/**
 * Passes a network's new leases on to its containers.
 *
 * Guarantees: it resolves when each attached container has its new lease, or rejects with the fault of the first that has
 * not. By then every container that got a lease is at rest again. It waits for a busy container. It skips a container that
 * is being torn down, is gone, was disconnected meanwhile, or has these terms already. A few containers change at the same
 * time.
 * Limits: a container that another operation keeps busy for longer than the wait counts as one that cannot follow.
 */
import { fromPromise, type AnyActorRef } from 'xstate';
import type { FanOutInput } from '../machines/network.ts';
import type { Attachment, ContainerContext, Lease } from '../state/container.ts';
import { FaultError, type Fault } from '../state/faults.ts';
import type { NeighbourDirectory } from './ask.ts';
import { inPool } from './pool.ts';
import { until } from './until.ts';
import { containerIdOf } from '../plan/owner.ts';
import { isLeaving, topState } from '../plan/states.ts';

/** The part of a container's state that matters here. */
interface Seen {
  status: string;
  value: unknown;
  context: ContainerContext;
  hasTag(tag: string): boolean;
}

/** The number of containers that follow at the same time: enough to keep the worker thread busy. */
const AT_ONCE = 16;
/** The wait for an operation that is under way. */
const PATIENCE_MS = 10_000;
/** The wait for a container to follow, or to undo that. Each of its effects has a deadline of its own. */
const FOLLOW_MS = 60_000;

/** Returns true if a container has the terms of the new lease. `remetric` is that of the network's machine. */
type HasLease = (attachments: readonly Attachment[], lease: Lease, remetric: boolean) => boolean;

export const fanOut = (neighbours: Pick<NeighbourDirectory, 'container'>, hasLease: HasLease) =>
  fromPromise<void, FanOutInput>(async ({ input }) => {
    let fault: Fault | null = null;
    const follow = async ([owner, lease]: [string, Lease]) => {
      const actor = fault === null ? neighbours.container(owner) : null;
      if (actor === null) return;
      const problem = await adjust(actor, lease, input.remetric, hasLease);
      if (problem !== null) fault ??= cannotFollow(input.network, owner, problem);
    };
    await inPool(AT_ONCE, input.leases, follow);
    if (fault !== null) throw FaultError.of(fault);
  });

/** Resolves with null when the container has the lease or need not have it. */
async function adjust(actor: AnyActorRef, lease: Lease, remetric: boolean, hasLease: HasLease): Promise<Fault | null> {
  const before = await atRest(actor, -1, PATIENCE_MS);
  if (before === null) return late('it is busy with something else');
  // A container that is leaving need not follow, nor need one that is not attached (any more).
  const mustFollow = (seen: Seen) =>
    seen.status === 'active' && !isLeaving(seen) && !hasLease(seen.context.attachments, lease, remetric);
  if (!mustFollow(before)) return null;
  const state = topState(before);
  const { n } = before.context.operation;
  actor.send({ type: 'adjust', network: lease.network, lease, remetric });
  const after = await atRest(actor, n, FOLLOW_MS);
  if (after === null) return late('it does not come to rest');
  if (!mustFollow(after)) return null;
  const { fault, leftovers, operation } = after.context;
  const why = operation.n === n ? null : (fault ?? leftovers[0] ?? null);
  return why ?? before.context.leftovers[0] ?? { code: 'INTERNAL', message: `it is ${state}` };
}

/** Resolves with the first state at rest whose last operation is not the `n`-th; with null when that takes too long. */
function atRest(actor: AnyActorRef, n: number, ms: number): Promise<Seen | null> {
  // The container did not accept the event in its present state, so no change will come.
  const now = actor.getSnapshot() as Seen;
  if (now.hasTag('rest') && now.context.operation.n === n) return Promise.resolve(now);
  const over = (seen: Seen) => seen.status !== 'active' || (seen.hasTag('rest') && seen.context.operation.n !== n);
  return until(actor, over, ms);
}

const late = (why: string): Fault => ({ code: 'DEADLINE', message: why });

function cannotFollow(network: string, owner: string, fault: Fault): Fault {
  const id = containerIdOf(owner);
  return {
    ...fault,
    code: 'NETWORK_UPDATE_FAILED',
    message: `network ${network} was not changed: container ${id} cannot follow: ${fault.message}`,
    owner: id,
    step: fault.step ?? 'fanOut',
  };
}
