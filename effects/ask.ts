/**
 * Questions from one machine to another: giving leases back, the firewall, names. And the wait between two attempts.
 *
 * Guarantees: asking again after a crash is answered the same. Who asks a machine that a defect has stopped, or stops
 * meanwhile, is told so: another is about to take its place, and is asked with the next attempt. Asking for leases is lease.ts.
 * Limits: no deadline: the shared machines answer whatever their own effects do, and those have one.
 */
import { createActor, fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import type { ReleaseInput, VerdictInput } from '../machines/container-inputs.ts';
import type { FirewallAnswer } from '../machines/firewall.ts';
import type { HoldInput, NetworkAnswer } from '../machines/network.ts';
import type { NameInput, ResolverAnswer, UnnameInput } from '../machines/resolver.ts';
import type { ContainerContext, PortTarget, ResolvedPort } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { EffectError, ROOT, toFault } from './effect.ts';

/** Where the shared machines are found. */
export interface Directory {
  /** null when no network has this name. */
  network(outside: string | null, name: string): AnyActorRef | null;
  firewall(outside: string | null): AnyActorRef;
  firewalld(outside: string | null): AnyActorRef;
  ports(outside: string | null): AnyActorRef;
  resolver(outside: string | null): AnyActorRef;
}

/** Tell when a defect stops a machine, at once where it has: it will not answer. Returns what ends that. */
export function whenStopped(machine: AnyActorRef, stopped: (fault: Fault) => void): () => void {
  const error = (defect: unknown) => {
    const why = defect instanceof Error ? defect.message : String(defect);
    stopped({ code: 'INTERNAL', message: `a defect in cleat has stopped what was asked: ${why}` });
  };
  const subscription = machine.subscribe({ error });
  return () => subscription.unsubscribe();
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
  /** Whether an owner has all of these host ports. */
  holds(owner: string, ports: readonly ResolvedPort[]): boolean;
}

/**
 * Give leases and ports back. That the container holds nothing of them any more is on disk first: else a network that was
 * lowered after its last user would, after a crash, be taken to stand. Ends with `released`, or `refused` when the disk
 * does not take it: then everything is still held.
 */
export const release = (directory: Directory, commit: (root: AnyActorRef) => Promise<void>) =>
  fromCallback<EventObject, ReleaseInput>(({ input, self, system, sendBack, receive }) => {
    const { owner, outside, networks, ports, uplink } = input;
    const waiting = new Set<string | null>(); // null: the firewall
    const heard: (() => void)[] = [];
    let left = false;
    receive((event) => {
      const answer = event as NetworkAnswer | FirewallAnswer;
      const gone =
        answer.type === 'left' ? waiting.delete(answer.network) : answer.type === 'released' && waiting.delete(null);
      if (gone && waiting.size === 0) sendBack({ type: 'released' });
    });
    const giveBack = () => {
      if (left) return;
      if (ports.length > 0) directory.ports(outside).send({ type: 'unclaim', owner, ports });
      // Names are given back long before; a restart between the two read them back from the container's snapshot.
      if (networks.length > 0) directory.resolver(outside).send({ type: 'unregister', owner, networks, from: self });
      // A network that does not exist any more holds no lease.
      const known = networks.flatMap((name) => directory.network(outside, name) ?? []);
      networks.filter((name) => directory.network(outside, name) !== null).forEach((name) => waiting.add(name));
      if (uplink) waiting.add(null);
      const ask = (machine: AnyActorRef, type: 'leave' | 'release') => {
        heard.push(whenStopped(machine, (fault) => refuse(new EffectError(fault))));
        machine.send({ type, owner, from: self });
      };
      for (const network of known) ask(network, 'leave');
      if (uplink) ask(directory.firewall(outside), 'release');
      if (waiting.size === 0 && known.length === 0) sendBack({ type: 'released' });
    };
    const refuse = (error: unknown) => {
      if (left) return;
      left = true;
      sendBack({ type: 'refused', fault: toFault(error, 'release') });
    };
    if (networks.length > 0) commit(system.get(ROOT) as AnyActorRef).then(giveBack, refuse);
    else giveBack();
    return () => {
      left = true;
      for (const end of heard) end();
    };
  });

/**
 * A network asks for our table, then for its bridge to be in the zone of firewalld, which refuses nobody, also when a defect stops
 * who keeps it. Ends with `held`, or `refused` by the first.
 */
export const holdFirewall = (directory: Directory) =>
  fromCallback<EventObject, HoldInput>(({ input, self, sendBack, receive }) => {
    const { network, bridge, outside } = input;
    let stands = false;
    const firewall = directory.firewall(outside);
    let end = whenStopped(firewall, (fault) => sendBack({ type: 'refused', fault } satisfies FirewallAnswer));
    receive((event) => {
      if (stands || event.type !== 'held') return sendBack(event);
      stands = true;
      end();
      const firewalld = directory.firewalld(outside);
      end = whenStopped(firewalld, () => sendBack(event));
      firewalld.send({ type: 'hold', bridge, from: self });
    });
    firewall.send({ type: 'hold', owner: network, from: self });
    return () => end();
  });

/**
 * The other way round: what is remembered of firewalld is in the record of the outside, which goes with the table. Who takes the
 * place of one that is stopped is held by the networks with leases: this one has none when it gives it back.
 */
export const releaseFirewall = (directory: Directory) =>
  fromCallback<EventObject, HoldInput>(({ input, self, sendBack, receive }) => {
    const { network, bridge, outside } = input;
    let left = false;
    let end = () => {};
    const giveBack = () => {
      left = true;
      end();
      const firewall = directory.firewall(outside);
      end = whenStopped(firewall, () => sendBack({ type: 'released' } satisfies FirewallAnswer));
      firewall.send({ type: 'release', owner: network, from: self });
    };
    receive((event) => (left ? sendBack(event) : giveBack()));
    const firewalld = directory.firewalld(outside);
    end = whenStopped(firewalld, giveBack);
    firewalld.send({ type: 'release', bridge, from: self });
    return () => end();
  });

/** Have the firewall of an outside compared with what should be; answered when it is so again. */
export const verifyFirewall = (directory: Directory) =>
  fromCallback<EventObject, { outside: string | null }>(({ input, self, sendBack, receive }) => {
    receive((event) => sendBack(event as FirewallAnswer));
    const firewall = directory.firewall(input.outside);
    const end = whenStopped(firewall, (fault) => sendBack({ type: 'refused', fault } satisfies FirewallAnswer));
    firewall.send({ type: 'verify', owner: 'reload', from: self });
    return end;
  });

/** Like verifyFirewall, for an effect: resolves when the table is as it should be, rejects with the reason when it cannot be. */
export const firewallStands =
  (directory: Pick<Directory, 'firewall'>) =>
  (outside: string | null): Promise<void> =>
    new Promise((resolve, reject) => {
      const firewall = directory.firewall(outside);
      let end = () => {};
      const hear = (answer: FirewallAnswer) => {
        if (answer.type === 'refused') reject(new EffectError(answer.fault));
        else resolve();
        end();
        asker.stop();
      };
      const asker = createActor(
        fromCallback<EventObject>(({ receive }) => receive((event) => hear(event as FirewallAnswer))),
      ).start();
      end = whenStopped(firewall, (fault) => hear({ type: 'refused', fault }));
      firewall.send({ type: 'verify', owner: 'uplink', from: asker });
    });

/** Wait until the container that takes ports over is at rest: `taken` if it has them then, else `kept`. */
export const awaitVerdict = (neighbours: () => NeighbourDirectory) =>
  fromCallback<EventObject, VerdictInput>(({ input, sendBack }) => {
    const { taker, ports } = input;
    let stop = () => {};
    const begin = setImmediate(() => {
      const actor = neighbours().container(taker);
      if (actor === null) return sendBack({ type: 'kept' });
      const look = () => {
        const snapshot = actor.getSnapshot() as { status: string; hasTag: (tag: string) => boolean };
        if (snapshot.status === 'active' && !snapshot.hasTag('rest')) return;
        stop();
        sendBack({ type: neighbours().holds(taker, ports) ? 'taken' : 'kept' });
      };
      const subscription = actor.subscribe({ next: look, complete: look, error: look });
      stop = () => subscription.unsubscribe();
      look();
    });
    return () => {
      clearImmediate(begin);
      stop();
    };
  });

/** Ends with `named` or `refused`. Without entries there is nothing to ask. */
export const name = (directory: Directory) =>
  fromCallback<EventObject, NameInput>(({ input, self, sendBack, receive }) => {
    const { owner, outside, entries } = input;
    if (entries.length === 0) return sendBack({ type: 'named' } satisfies ResolverAnswer);
    const resolver = directory.resolver(outside);
    let settled = false;
    receive((event) => {
      const answer = event as ResolverAnswer;
      if (settled || answer.type === 'unnamed') return;
      settled = true;
      sendBack(answer);
    });
    const end = whenStopped(resolver, (fault) => {
      if (settled) return;
      settled = true;
      sendBack({ type: 'refused', fault } satisfies ResolverAnswer);
    });
    resolver.send({ type: 'register', owner, networks: entries, from: self });
    return () => {
      end();
      if (settled) return;
      settled = true;
      const networks = entries.map(({ network }) => network);
      resolver.send({ type: 'unregister', owner, networks, from: self });
    };
  });

/** Ends with `unnamed`, whatever the resolver can do about it now. */
export const unname = (directory: Directory) =>
  fromCallback<EventObject, UnnameInput>(({ input, self, sendBack, receive }) => {
    const { owner, outside, networks } = input;
    if (networks.length === 0) return sendBack({ type: 'unnamed' } satisfies ResolverAnswer);
    receive((event) => sendBack(event));
    const resolver = directory.resolver(outside);
    const end = whenStopped(resolver, () => sendBack({ type: 'unnamed' } satisfies ResolverAnswer));
    resolver.send({ type: 'unregister', owner, networks, from: self });
    return end;
  });

/** 1 s, 2 s, 4 s ... 60 s, then `retry`. After a restart of the daemon the wait begins anew. */
export const backOff = () =>
  fromCallback<EventObject, { attempt: number }>(({ input, sendBack }) => {
    const timer = setTimeout(() => sendBack({ type: 'retry' }), Math.min(1000 * 2 ** (input.attempt - 1), 60_000));
    return () => clearTimeout(timer);
  });
