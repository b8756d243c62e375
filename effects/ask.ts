/**
 * Questions from one machine to another: leases, host ports, the firewall, names. And the wait between two attempts.
 *
 * Guarantees: all or nothing (what was granted before a refusal is given back); a question that is abandoned, because
 * its asker left the state, gives back what was granted. Asking again after a crash is answered the same.
 * Limits: no deadline: the shared machines answer whatever their own effects do, and those have one.
 */
import { fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import type { LeaseInput, ReleaseInput, VerdictInput } from '../machines/container-inputs.ts';
import type { FirewallAnswer } from '../machines/firewall.ts';
import type { HoldInput, NetworkAnswer } from '../machines/network.ts';
import type { PortsAnswer } from '../machines/ports.ts';
import type { NameInput, ResolverAnswer, UnnameInput } from '../machines/resolver.ts';
import type { PortProbe } from '../native/index.ts';
import type { Lease, PortTarget, ResolvedPort } from '../state/container.ts';
import type { Fault } from '../state/faults.ts';
import { ROOT, toFault } from './effect.ts';
import type { Kernel } from './kernel.ts';

/** Where the shared machines are found. */
export interface Directory {
  /** null when no network has this name. */
  network(outside: string | null, name: string): AnyActorRef | null;
  firewall(outside: string | null): AnyActorRef;
  ports(outside: string | null): AnyActorRef;
  resolver(outside: string | null): AnyActorRef;
}

/** What containers are to each other. An owner is id:generation. */
export interface NeighbourDirectory {
  /** The container of this generation, null when it is gone. */
  container(owner: string): AnyActorRef | null;
  /** Ask `giver` to hand over ports: where they lead there, from now until the taker is at rest. Null: it does not. */
  yields(giver: string, taker: string, ports: readonly ResolvedPort[]): PortTarget[] | null;
  /** Whether an owner has all of these host ports. */
  holds(owner: string, ports: readonly ResolvedPort[]): boolean;
}

/** How often ports that the host turns out to listen on are replaced by other random ones. */
const PORT_ATTEMPTS = 16;

export const lease = (directory: Directory, neighbours: () => NeighbourDirectory, kernel: Kernel) =>
  fromCallback<EventObject, LeaseInput>(({ input, self, sendBack, receive }) => {
    const { owner, outside, networks, taking } = input;
    const leases = new Map<string, Lease>();
    let claimed: ResolvedPort[] = [];
    let avoid: number[] = [];
    let given: PortTarget[] = [];
    let settled = false;
    const ports = directory.ports(outside);

    const giveBack = () => {
      for (const name of Object.keys(networks)) {
        directory.network(outside, name)?.send({ type: 'leave', owner, from: self });
      }
      if (claimed.length > 0) ports.send({ type: 'unclaim', owner, ports: claimed });
    };
    const refuse = (fault: Fault) => {
      if (settled) return;
      settled = true;
      giveBack();
      sendBack({ type: 'refused', fault });
    };
    const claim = () => {
      const giver = taking?.owner ?? null;
      ports.send({ type: 'claim', owner, ports: input.ports, avoid, giver, from: self });
    };
    /** The other container first: once it has agreed, its ports are ours to claim. */
    const take = ({ owner: giver, ports: theirs }: NonNullable<LeaseInput['taking']>) => {
      if (settled) return;
      const targets = neighbours().yields(giver, owner, theirs);
      if (targets === null) {
        const id = giver.slice(0, giver.lastIndexOf(':'));
        return refuse({ code: 'NOT_PUBLISHED', message: `container ${id} does not give these ports away`, owner: id });
      }
      given = targets;
      claim();
    };
    const grant = () => {
      if (input.inside === null) return answer([]);
      const { kernel: native } = kernel.outside(outside);
      native.links(input.inside).then(
        (links) => answer(links.map(({ name }) => name)),
        (error: unknown) => refuse(toFault(error, 'lease')),
      );
    };
    const answer = (inside: string[]) => {
      if (settled) return;
      settled = true;
      // In the order asked for, whatever order the answers came in.
      sendBack({
        type: 'leased',
        leases: Object.keys(networks).flatMap((name) => leases.get(name) ?? []),
        ports: claimed,
        inside,
        given,
      });
    };
    const probe = async () => {
      const busy = await heldByHost(kernel, outside, claimed, taking?.ports ?? []);
      if (settled) return;
      if (busy === null) return grant();
      const random = input.ports.some(
        (mapping) => (mapping.host_port ?? 0) === 0 && busy.random(mapping.container_port),
      );
      if (!random || avoid.length >= PORT_ATTEMPTS) return refuse(busy.fault);
      ports.send({ type: 'unclaim', owner, ports: claimed });
      claimed = [];
      avoid = [...avoid, busy.port];
      claim();
    };

    receive((event) => {
      const answer = event as NetworkAnswer | PortsAnswer;
      if (settled || answer.type === 'left' || answer.type === 'updated') return;
      if (answer.type === 'refused') return refuse(answer.fault);
      if (answer.type === 'claimed') {
        claimed = answer.ports;
        probe().catch((error: unknown) => refuse(toFault(error, 'portProbe')));
        return;
      }
      leases.set(answer.network, answer.lease);
      if (leases.size < Object.keys(networks).length) return;
      if (input.ports.length > 0) claim();
      else grant();
    });

    for (const [name, options] of Object.entries(networks)) {
      const network = directory.network(outside, name);
      if (network === null) {
        refuse({
          code: 'NO_SUCH_NETWORK',
          message: `unable to find network with name or ID ${name}: network not found`,
        });
        break;
      }
      network.send({ type: 'join', owner, options, from: self });
    }
    // A turn later: at a start the other container may come after this one.
    if (taking !== null) setImmediate(() => take(taking));
    else if (Object.keys(networks).length === 0) claim();

    return () => {
      if (settled) return;
      settled = true;
      giveBack();
    };
  });

/**
 * The first of these ports that something on the host listens on already, or null. Where another container gives them away
 * it is what carries its ports that listens.
 */
async function heldByHost(
  kernel: Kernel,
  outside: string | null,
  ports: readonly ResolvedPort[],
  given: readonly ResolvedPort[],
) {
  const isGiven = (protocol: string, hostIp: string, port: number) =>
    given.some(
      (one) =>
        one.protocol === protocol && one.hostIp === hostIp && port >= one.hostPort && port < one.hostPort + one.range,
    );
  const probes: (PortProbe & { containerPort: number })[] = [];
  for (const { protocol, hostIp: address, hostPort, containerPort, range } of ports) {
    const families = address === '' ? ([4, 6] as const) : ([address.includes(':') ? 6 : 4] as const);
    for (let i = 0; i < range; i++) {
      if (isGiven(protocol, address, hostPort + i)) continue;
      for (const family of families) probes.push({ protocol, family, address, port: hostPort + i, containerPort });
    }
  }
  const holders = await kernel.outside(outside).kernel.portProbe(probes);
  // An address the host does not have (yet) cannot have a listener either.
  const holder = holders.find(({ code }) => code !== 'EADDRNOTAVAIL');
  const busy = holder === undefined ? undefined : probes[holder.index];
  if (holder === undefined || busy === undefined) return null;
  const who = holder.pid === null ? 'another process' : `pid ${holder.pid} (${holder.command ?? '?'})`;
  const host = busy.address === '' ? '' : busy.family === 6 ? `[${busy.address}]:` : `${busy.address}:`;
  const fault: Fault = {
    code: 'PORT_TAKEN',
    message: `port ${host}${busy.port}/${busy.protocol} is in use on the host by ${who}`,
    errno: holder.code,
    owner: who,
  };
  return { fault, port: busy.port, random: (containerPort: number) => containerPort === busy.containerPort };
}

/**
 * Give leases and ports back. That the container holds nothing of them any more is on disk first: else a network that was
 * lowered after its last user would, after a crash, be taken to stand. Ends with `released`, or `refused` when the disk
 * does not take it: then everything is still held.
 */
export const release = (directory: Directory, commit: (root: AnyActorRef) => Promise<void>) =>
  fromCallback<EventObject, ReleaseInput>(({ input, self, system, sendBack, receive }) => {
    const { owner, outside, networks, ports } = input;
    const waiting = new Set<string>();
    let left = false;
    receive((event) => {
      const answer = event as NetworkAnswer;
      if (answer.type === 'left' && waiting.delete(answer.network) && waiting.size === 0)
        sendBack({ type: 'released' });
    });
    const giveBack = () => {
      if (left) return;
      if (ports.length > 0) directory.ports(outside).send({ type: 'unclaim', owner, ports });
      // Names are given back long before; a restart between the two read them back from the container's snapshot.
      if (networks.length > 0) directory.resolver(outside).send({ type: 'unregister', owner, networks, from: self });
      // A network that does not exist any more holds no lease.
      const known = networks.flatMap((name) => directory.network(outside, name) ?? []);
      networks.filter((name) => directory.network(outside, name) !== null).forEach((name) => waiting.add(name));
      for (const network of known) network.send({ type: 'leave', owner, from: self });
      if (known.length === 0) sendBack({ type: 'released' });
    };
    const refuse = (error: unknown) => {
      if (!left) sendBack({ type: 'refused', fault: toFault(error, 'release') });
    };
    if (networks.length > 0) commit(system.get(ROOT) as AnyActorRef).then(giveBack, refuse);
    else giveBack();
    return () => {
      left = true;
    };
  });

/** hold and release of the firewall by a network; its answers are the network machine's events as they are. */
const ofFirewall = (directory: Directory, type: 'hold' | 'release') =>
  fromCallback<EventObject, HoldInput>(({ input, self, sendBack, receive }) => {
    receive((event) => sendBack(event));
    directory.firewall(input.outside).send({ type, owner: input.network, from: self });
  });

export const holdFirewall = (directory: Directory) => ofFirewall(directory, 'hold');
export const releaseFirewall = (directory: Directory) => ofFirewall(directory, 'release');

/** Have the firewall of an outside compared with what should be; answered when it is so again. */
export const verifyFirewall = (directory: Directory) =>
  fromCallback<EventObject, { outside: string | null }>(({ input, self, sendBack, receive }) => {
    receive((event) => sendBack(event as FirewallAnswer));
    directory.firewall(input.outside).send({ type: 'verify', owner: 'reload', from: self });
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
      const subscription = actor.subscribe({ next: look, complete: look });
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
    resolver.send({ type: 'register', owner, networks: entries, from: self });
    return () => {
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
    directory.resolver(outside).send({ type: 'unregister', owner, networks, from: self });
  });

/** 1 s, 2 s, 4 s ... 60 s, then `retry`. After a restart of the daemon the wait begins anew. */
export const backOff = () =>
  fromCallback<EventObject, { attempt: number }>(({ input, sendBack }) => {
    const timer = setTimeout(() => sendBack({ type: 'retry' }), Math.min(1000 * 2 ** (input.attempt - 1), 60_000));
    return () => clearTimeout(timer);
  });
