/**
 * Requests from one machine to another, as promises: giving leases back, the firewall, names. And the wait between two
 * attempts.
 *
 * Guarantees: a request that is repeated after a crash gets the same answer. A request to a machine that a defect has
 * stopped, or stops meanwhile, rejects: another machine takes its place, and the next attempt asks that one. A request whose
 * state was left (`signal`) rejects, and nothing hears its answer any more. Requests for leases are in lease.ts.
 * Limits: no deadline: the shared machines answer whatever their own effects do, and those have one.
 */
import { setMaxListeners } from 'node:events';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { createActor, fromCallback, fromPromise, type AnyActorRef, type EventObject, type Subscription } from 'xstate';
import type { ReleaseInput, VerdictInput } from '../machines/container/container-inputs.ts';
import type { HoldInput } from '../machines/network.ts';
import type { NameInput, UnnameInput } from '../machines/resolver.ts';
import { attachmentKey } from '../plan/networks/attachment-key.ts';
import type { ContainerContext, PortTarget, ResolvedPort } from '../state/container.ts';
import { type Fault, FaultError } from '../state/faults.ts';
import { pauseAfter } from '../plan/pauses.ts';
import { rests } from '../plan/states.ts';
import { ROOT, toFault } from './effect.ts';
import { until } from './until.ts';

/** Finds the shared machines. */
export interface Directory {
  /** null when no network has this name. */
  network(outside: string | null, name: string): AnyActorRef | null;
  firewall(outside: string | null): AnyActorRef;
  firewalld(outside: string | null): AnyActorRef;
  ports(outside: string | null): AnyActorRef;
  resolver(outside: string | null): AnyActorRef;
  /** The way out of a rootless daemon's own outside; null for any other outside, which has ways of its own. */
  rootless(outside: string | null): AnyActorRef | null;
  /** Why nothing can be attached to a network now, whatever its machine says; null or absent if something can. */
  refusal?(name: string): Fault | null;
}

/** The sender of requests whose answers nobody waits for. */
export const NOBODY = createActor(fromCallback(() => {})).start();

/** An answer of a shared machine: one of its own, or a refusal with the reason. */
type Answer = { type: string } | { type: 'refused'; fault: Fault };

/** Returns the error of requests to a machine that this defect has stopped. */
function stoppedBy(defect: unknown): FaultError {
  const why = defect instanceof Error ? defect.message : String(defect);
  return new FaultError('INTERNAL', `a defect in cleat has stopped what was asked: ${why}`);
}

/**
 * Sends a message to a machine, and resolves with the answer. Rejects with the fault when the machine refuses, when a defect
 * has stopped it or stops it meanwhile, and when `signal` aborts.
 */
export function request<A extends Answer>(
  machine: AnyActorRef,
  message: EventObject & Record<string, unknown>,
  signal?: AbortSignal,
): Promise<Exclude<A, { type: 'refused' }>> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const { status, error } = machine.getSnapshot() as { status: string; error?: unknown };
    if (status === 'error') return reject(stoppedBy(error));

    const hear = (answer: Answer) => {
      end();
      if ('fault' in answer) reject(FaultError.of(answer.fault));
      else resolve(answer as Exclude<A, { type: 'refused' }>);
    };
    const fail = (reason: Error) => {
      end();
      reject(reason);
    };
    const abort = () => fail(signal?.reason as Error);
    const from = createActor(fromCallback<EventObject>(({ receive }) => receive((event) => hear(event))));
    const subscription = machine.subscribe({ error: (defect: unknown) => fail(stoppedBy(defect)) });
    const end = () => {
      subscription.unsubscribe();
      signal?.removeEventListener('abort', abort);
      from.stop();
    };
    signal?.addEventListener('abort', abort);
    machine.send({ ...message, from: from.start() });
  });
}

/** What containers are to each other. An owner is id:generation. */
export interface NeighbourDirectory {
  /** The container of this generation, null when it is gone. */
  container(owner: string): AnyActorRef | null;
  /** Ask `giver` to hand over ports: where they lead there, from now until the taker is at rest. Null: it does not. */
  yields(giver: string, taker: string, ports: readonly ResolvedPort[]): PortTarget[] | null;
  /**
   * Resolves when all of these containers that are on their way out are gone; null when there are none. A teardown answers
   * before the kernel has let go of everything: until then nobody else is given what was the container's.
   */
  departures(concerns: (context: ContainerContext) => boolean): Promise<void> | null;
  /** Returns true if an owner has all of these host ports. */
  holds(owner: string, ports: readonly ResolvedPort[]): boolean;
}

/**
 * Gives leases and ports back. It is written to disk first that the container holds nothing of them any more: else a network
 * that was lowered after its last user would, after a crash, be taken to be up. Rejects when the disk does not take that, or
 * a defect has stopped a machine: then everything is still held.
 */
export const release = (directory: Directory, commit: (root: AnyActorRef) => Promise<void>) =>
  fromPromise<void, ReleaseInput>(async ({ input, system, signal }) => {
    const { owner, outside, networks, ports, uplink } = input;
    try {
      if (networks.length > 0) await commit(system.get(ROOT) as AnyActorRef);
      signal.throwIfAborted();
      if (ports.length > 0) directory.ports(outside).send({ type: 'unclaim', owner, ports });
      // Names are given back long before; a restart between the two read them back from the container's snapshot.
      if (networks.length > 0) directory.resolver(outside).send({ type: 'unregister', owner, networks, from: NOBODY });
      // A network that does not exist any more holds no lease.
      const known = networks.flatMap((name) => directory.network(outside, name) ?? []);
      await Promise.all([
        ...known.map((network) => request(network, { type: 'leave', owner }, signal)),
        ...releaseWayOut(directory, input, signal),
        ...(uplink ? [request(directory.firewall(outside), { type: 'release', owner }, signal)] : []),
      ]);
    } catch (error) {
      throw FaultError.of(toFault(error, 'release'));
    }
  });

/** The way out is held for each attachment. */
function releaseWayOut(directory: Directory, { owner, outside, networks }: ReleaseInput, signal: AbortSignal) {
  const wayOut = directory.rootless(outside);
  if (wayOut === null) return [];
  return networks.map((network) => request(wayOut, { type: 'release', owner: attachmentKey(owner, network) }, signal));
}

/** Several requests that succeed together or not at all. */
export interface Work {
  /** Aborts when the state is left, when `fail` is called, and when a defect stops a machine of `hear`. */
  signal: AbortSignal;
  /**
   * Has the work fail when a defect stops this machine, also after its answer: the machine that takes its place knows only
   * what containers have. Returns the machine.
   */
  hear: (machine: AnyActorRef) => AnyActorRef;
  /** Ends the requests that are under way. */
  fail: () => void;
  /** Must be called when the work has ended, however it ended. */
  end: () => void;
}

export function beginWork(left: AbortSignal): Work {
  const failed = new AbortController();
  const signal = AbortSignal.any([left, failed.signal]);
  setMaxListeners(0, signal); // each request that waits has one
  const heard: Subscription[] = [];
  return {
    signal,
    hear: (machine) => {
      heard.push(machine.subscribe({ error: (defect: unknown) => failed.abort(stoppedBy(defect)) }));
      return machine;
    },
    fail: () => failed.abort(),
    end: () => {
      for (const subscription of heard) subscription.unsubscribe();
    },
  };
}

/**
 * A network requests our table, then its bridge in the zone of firewalld. The machine of firewalld refuses nobody, and a
 * defect that stops it keeps no network down. A defect that stops the firewall's machine meanwhile does.
 */
export const holdFirewall = (directory: Directory) =>
  fromPromise<void, HoldInput>(async ({ input: { network, bridge, outside }, signal }) => {
    const work = beginWork(signal);
    try {
      await request(work.hear(directory.firewall(outside)), { type: 'hold', owner: network }, work.signal);
      if (bridge !== null)
        await request(directory.firewalld(outside), { type: 'hold', bridge }, work.signal).catch(() => {});
      work.signal.throwIfAborted();
    } finally {
      work.end();
    }
  });

/**
 * Gives both back in reverse order: the record of the outside remembers what is known of firewalld, and goes with the table.
 * Never rejects: networks with leases hold the machine that takes the place of a stopped one, and this network has none.
 */
export const releaseFirewall = (directory: Directory) =>
  fromPromise<void, HoldInput>(async ({ input: { network, bridge, outside }, signal }) => {
    if (bridge !== null)
      await request(directory.firewalld(outside), { type: 'release', bridge }, signal).catch(() => {});
    await request(directory.firewall(outside), { type: 'release', owner: network }, signal).catch(() => {});
  });

/** Has the firewall of an outside compared with what should be. Resolves when it is so again. */
export const verifyFirewall = (directory: Directory) =>
  fromPromise<void, { outside: string | null }>(async ({ input, signal }) => {
    await request(directory.firewall(input.outside), { type: 'verify', owner: 'reload' }, signal);
  });

/** Does the same for an effect: resolves when the table is as it should be, rejects with the reason when it cannot be. */
export const firewallStands =
  (directory: Pick<Directory, 'firewall'>) =>
  async (outside: string | null): Promise<void> => {
    await request(directory.firewall(outside), { type: 'verify', owner: 'uplink' });
  };

/** Waits until the container that takes ports over is at rest: `taken` if it has them then, else `kept`. */
export const awaitVerdict = (neighbours: NeighbourDirectory) =>
  fromPromise<'taken' | 'kept', VerdictInput>(async ({ input: { taker, ports }, signal }) => {
    await nextTurn(undefined, { signal });
    const actor = neighbours.container(taker);
    if (actor === null) return 'kept';
    await until(actor, rests);
    return neighbours.holds(taker, ports) ? 'taken' : 'kept';
  });

/** Registers names with the resolver. Without entries nothing is requested. Names whose state was left are given back. */
export const name = (directory: Directory) =>
  fromPromise<void, NameInput>(async ({ input: { owner, outside, entries }, signal }) => {
    if (entries.length === 0) return;
    const resolver = directory.resolver(outside);
    const networks = entries.map(({ network }) => network);
    const abandon = () => resolver.send({ type: 'unregister', owner, networks, from: NOBODY });
    signal.addEventListener('abort', abandon, { once: true });
    await request(resolver, { type: 'register', owner, networks: entries }, signal).finally(() =>
      signal.removeEventListener('abort', abandon),
    );
  });

/** Gives names back. Never rejects, whatever the resolver can do about it now. */
export const unname = (directory: Directory) =>
  fromPromise<void, UnnameInput>(async ({ input: { owner, outside, networks }, signal }) => {
    if (networks.length === 0) return;
    await request(directory.resolver(outside), { type: 'unregister', owner, networks }, signal).catch(() => {});
  });

/** Waits longer after each failure (plan/pauses.ts). After a restart of the daemon the wait begins anew. */
export const backOff = () =>
  fromPromise<void, { attempt: number }>(({ input, signal }) =>
    delay(pauseAfter(input.attempt), undefined, { signal }),
  );
