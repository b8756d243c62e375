/**
 * Asking for a lease: addresses of networks and host ports for one change of a container.
 *
 * Guarantees: all or nothing (what was granted before a refusal is given back); a question that is abandoned, because
 * its asker left the state, gives back what was granted. Asking again after a crash is answered the same. What a container
 * had that was torn down before is waited for, not refused: its teardown answers before the kernel has let go of it.
 * Limits: no deadline: the shared machines answer whatever their own effects do, and those have one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fromCallback, type AnyActorRef, type EventObject } from 'xstate';
import type { ContainerEvent, LeaseInput } from '../machines/container-inputs.ts';
import type { FirewallAnswer } from '../machines/firewall.ts';
import type { NetworkAnswer } from '../machines/network.ts';
import type { PortsAnswer } from '../machines/ports.ts';
import type { PortProbe } from '../native/index.ts';
import type { Lease, PortTarget, ResolvedPort } from '../state/container.ts';
import type { Fault, FaultCode } from '../state/faults.ts';
import { whenStopped, type Directory, type NeighbourDirectory } from './ask.ts';
import { toFault } from './effect.ts';
import type { Kernel } from './kernel.ts';

/** How often ports that the host turns out to listen on are replaced by other random ones. */
const PORT_ATTEMPTS = 16;

/** Refusals that may be over when a container that has been torn down is gone. */
const PASSING: ReadonlySet<FaultCode> = new Set<FaultCode>([
  'ADDRESS_TAKEN',
  'MAC_TAKEN',
  'SUBNET_FULL',
  'PORT_TAKEN',
  'NO_FREE_PORT',
]);

interface Parts {
  directory: Directory;
  neighbours: () => NeighbourDirectory;
  kernel: Kernel;
}

export const lease = (directory: Directory, neighbours: () => NeighbourDirectory, kernel: Kernel) =>
  fromCallback<EventObject, LeaseInput>(({ input, self, sendBack, receive }) => {
    const asker = { self, receive };
    const parts = { directory, neighbours, kernel };
    let left = false;
    /** Asks once more when those are gone that were torn down before. Nobody else can have been in the way, so once is enough. */
    const askAgain = async (refused: Verdict & { type: 'refused' }) => {
      await nextTurn(); // at a start the other container may come after this one
      const departures = neighbours().departures(({ outside }) => outside === input.outside);
      if (departures === null) return sendBack(refused);
      await departures;
      if (!left) giveUp = ask(parts, input, asker, sendBack);
    };
    let giveUp = ask(parts, input, asker, (verdict) => {
      if (verdict.type === 'leased' || !PASSING.has(verdict.fault.code)) sendBack(verdict);
      else void askAgain(verdict);
    });
    return () => {
      left = true;
      giveUp();
    };
  });

interface Asker {
  self: AnyActorRef;
  receive: (listener: (event: EventObject) => void) => void;
}

type Verdict = Extract<ContainerEvent, { type: 'leased' | 'refused' }>;

/** One attempt: ends once, with what was granted or with why nothing was. Returns what gives it up. */
function ask(
  { directory, neighbours, kernel }: Parts,
  input: LeaseInput,
  { self: from, receive }: Asker,
  end: (verdict: Verdict) => void,
): () => void {
  const { owner, outside, networks, taking } = input;
  const leases = new Map<string, Lease>();
  let claimed: ResolvedPort[] = [];
  let avoid: number[] = [];
  let given: PortTarget[] = [];
  let settled = false;
  const heard: (() => void)[] = [];
  const ports = directory.ports(outside);

  const settle = () => {
    settled = true;
    for (const stop of heard) stop();
  };
  const hear = (machine: AnyActorRef) => {
    if (!settled) heard.push(whenStopped(machine, refuse));
    return machine;
  };

  const giveBack = () => {
    for (const name of Object.keys(networks)) {
      directory.network(outside, name)?.send({ type: 'leave', owner, from });
    }
    if (input.uplink) directory.firewall(outside).send({ type: 'release', owner, from });
    if (claimed.length > 0) ports.send({ type: 'unclaim', owner, ports: claimed });
  };
  const refuse = (fault: Fault) => {
    if (settled) return;
    settle();
    giveBack();
    end({ type: 'refused', fault });
  };
  const claim = () => {
    const giver = taking?.owner ?? null;
    ports.send({ type: 'claim', owner, ports: input.ports, avoid, giver, from });
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
    const asked = [...leases.values()].filter(({ network }) => networks[network]?.static_mac !== undefined);
    if (input.inside === null && asked.length === 0) return answer([]);
    const look = async () => {
      const taken = asked.length === 0 ? null : await macOnBridge(kernel, outside, asked);
      if (taken !== null) return refuse(taken);
      const links = input.inside === null ? [] : await kernel.outside(outside).kernel.links(input.inside);
      answer(links.map(({ name }) => name));
    };
    look().catch((error: unknown) => refuse(toFault(error, 'lease')));
  };
  const answer = (inside: string[]) => {
    if (settled) return;
    settle();
    // In the order asked for, whatever order the answers came in.
    end({
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
    const random = input.ports.some((mapping) => (mapping.host_port ?? 0) === 0 && busy.random(mapping.container_port));
    if (!random || avoid.length >= PORT_ATTEMPTS) return refuse(busy.fault);
    ports.send({ type: 'unclaim', owner, ports: claimed });
    claimed = [];
    avoid = [...avoid, busy.port];
    claim();
  };

  receive((event) => {
    const answer = event as NetworkAnswer | PortsAnswer | FirewallAnswer;
    if (settled) return;
    if (answer.type === 'left' || answer.type === 'updated') return;
    if (answer.type === 'released' || answer.type === 'verified') return;
    if (answer.type === 'held') return claim();
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
    if (settled) break; // refused by the one before
    const network = directory.network(outside, name);
    if (network === null) {
      refuse({
        code: 'NO_SUCH_NETWORK',
        message: `unable to find network with name or ID ${name}: network not found`,
      });
      break;
    }
    hear(network).send({ type: 'join', owner, options, from });
  }
  if (input.ports.length > 0) hear(ports);
  // A turn later: at a start the other container may come after this one.
  if (taking !== null) setImmediate(() => take(taking));
  // An uplink has no networks beside it.
  else if (input.uplink) hear(directory.firewall(outside)).send({ type: 'hold', uplink: true, owner, from });
  else if (Object.keys(networks).length === 0) claim();

  return () => {
    if (settled) return;
    settle();
    giveBack();
  };
}

/** The first of these leases whose MAC a bridge has, or a port of it that is not ours to lease to: an uplink, a VM's tap. */
async function macOnBridge(kernel: Kernel, outside: string | null, leases: readonly Lease[]): Promise<Fault | null> {
  const links = await kernel.outside(outside).kernel.links();
  for (const { bridge, mac, network } of leases) {
    const index = links.find(({ name }) => name === bridge)?.index;
    const holder = links.find((link) => link.mac === mac && (link.index === index || link.master === index));
    if (index === undefined || holder === undefined) continue;
    const message = `MAC address ${mac} is in use by ${holder.name} on ${network}`;
    return { code: 'MAC_TAKEN', message, owner: `link ${holder.name}` };
  }
  return null;
}

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
