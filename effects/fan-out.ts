/**
 * A network's new leases on their way to its containers.
 *
 * Guarantees: `followed` when each container that is attached has its new lease, `stuck` with the fault of the first that
 * has not; by then every container that was told has come to rest again. Who is busy is waited for; who is on the way
 * out, is gone, or was disconnected meanwhile is left alone; who has these terms already is not disturbed. Side by side,
 * a few at a time.
 * Limits: a container that another operation keeps busy for longer than the wait is one that cannot follow.
 */
import { fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import type { FanOutInput } from '../machines/network.ts';
import type { Attachment, ContainerContext, Lease } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import type { NeighbourDirectory } from './ask.ts';

/** As much of a container's state as matters here. */
interface Seen {
  status: string;
  value: unknown;
  context: ContainerContext;
  hasTag(tag: string): boolean;
}

/** Containers at the same time: enough to keep the worker thread busy. */
const AT_ONCE = 16;
/** For an operation under way when we come. */
const PATIENCE_MS = 10_000;
/** For following, and for undoing that: each of its effects has a deadline of its own. */
const FOLLOW_MS = 60_000;

/** Whether a container has what the new lease says; `remetric` as the network's machine has it. */
type HasLease = (attachments: readonly Attachment[], lease: Lease, remetric: boolean) => boolean;

export const fanOut = (neighbours: () => Pick<NeighbourDirectory, 'container'>, hasLease: HasLease) =>
  fromCallback<EventObject, FanOutInput>(({ input, sendBack }) => {
    const queue = Object.entries(input.leases);
    let fault: Fault | null = null;
    const work = async () => {
      for (let next = queue.shift(); next !== undefined && fault === null; next = queue.shift()) {
        const [owner, lease] = next;
        const actor = neighbours().container(owner);
        if (actor === null) continue;
        const problem = await adjust(actor, lease, input.remetric, hasLease);
        if (problem !== null) fault ??= cannotFollow(input.network, owner, problem);
      }
    };
    void Promise.all(Array.from({ length: Math.min(AT_ONCE, queue.length) }, work)).then(() =>
      sendBack(fault === null ? { type: 'followed' } : { type: 'stuck', fault }),
    );
  });

/** A container there is not concerned, nor is one that is not attached (any more). */
const WAY_OUT = ['draining', 'releasing', 'teardownFailed'];

/** Resolves with null when the container has the lease or need not have it. */
async function adjust(actor: AnyActorRef, lease: Lease, remetric: boolean, hasLease: HasLease): Promise<Fault | null> {
  const before = await atRest(actor, -1, PATIENCE_MS);
  if (before === null) return late('it is busy with something else');
  const mustFollow = ({ status, value, context }: Seen) =>
    status === 'active' && !WAY_OUT.includes(nameOf({ value })) && !hasLease(context.attachments, lease, remetric);
  if (!mustFollow(before)) return null;
  const state = nameOf(before);
  const { n } = before.context.operation;
  actor.send({ type: 'adjust', network: lease.network, lease, remetric });
  const after = await atRest(actor, n, FOLLOW_MS);
  if (after === null) return late('it does not come to rest');
  if (!mustFollow(after)) return null;
  const { fault, leftovers, operation } = after.context;
  const why = operation.n === n ? null : (fault ?? leftovers[0] ?? null);
  return why ?? before.context.leftovers[0] ?? { code: 'INTERNAL', message: `it is ${state}` };
}

/** The first state at rest in which another operation than the `n`-th was the last one; null when that takes too long. */
function atRest(actor: AnyActorRef, n: number, ms: number): Promise<Seen | null> {
  return new Promise((resolve) => {
    const look = (seen: Seen) => {
      const rests = seen.status !== 'active' || (seen.hasTag('rest') && seen.context.operation.n !== n);
      if (rests) done(seen);
    };
    const done = (seen: Seen | null) => {
      clearTimeout(timer);
      subscription?.unsubscribe();
      resolve(seen);
    };
    // Not taken in its present state: nothing will come of it.
    const now = actor.getSnapshot() as Seen;
    const refused = now.hasTag('rest') && now.context.operation.n === n;
    const timer = setTimeout(() => done(null), ms);
    let subscription: { unsubscribe(): void } | undefined;
    if (refused) return done(now);
    subscription = actor.subscribe({
      next: (seen: unknown) => look(seen as Seen),
      complete: () => look(actor.getSnapshot() as Seen),
      error: () => look(actor.getSnapshot() as Seen),
    });
    look(now);
  });
}

const nameOf = ({ value }: Pick<Seen, 'value'>): string =>
  typeof value === 'string' ? value : (Object.keys(value as object)[0] ?? '');

const late = (why: string): Fault => ({ code: 'DEADLINE', message: why });

function cannotFollow(network: string, owner: string, fault: Fault): Fault {
  const id = owner.replace(/:\d+$/, '');
  return {
    ...fault,
    code: 'NETWORK_UPDATE_FAILED',
    message: `network ${network} was not changed: container ${id} cannot follow: ${fault.message}`,
    owner: id,
    step: fault.step ?? 'fanOut',
  };
}
