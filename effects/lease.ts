/**
 * Requests a lease: addresses of networks and host ports for one change of a container.
 *
 * Guarantees: all or nothing (what was granted before a refusal is given back, and so is what a plan did not promise); a request
 * that is abandoned, because its state was left, gives back what was granted. A request that is repeated after a crash gets the
 * same answer. It waits for what a container had that was torn down before, and is not refused: a teardown answers before the
 * kernel has let go of everything.
 * Limits: no deadline: the shared machines answer whatever their own effects do, and those have one.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { fromPromise } from 'xstate';
import type { LeaseInput } from '../machines/container/container-inputs.ts';
import type { FirewallAnswer } from '../machines/firewall.ts';
import type { NetworkAnswer } from '../machines/network.ts';
import type { PortsAnswer } from '../machines/ports.ts';
import type { RootlessAnswer } from '../machines/rootless.ts';
import type { PortProbe } from '../native/index.ts';
import { isForRootAlone, privileged } from './refusal.ts';
import { attachmentKey } from '../plan/networks/attachment-key.ts';
import type { Granted } from '../plan/containers/change.ts';
import { familyOf } from '../plan/addresses/address.ts';
import { containerIdOf } from '../plan/owner.ts';
import { portText } from '../plan/ports/port-text.ts';
import type { Lease, PortTarget, ResolvedPort } from '../state/container.ts';
import type { ExternalTerms } from '../state/external.ts';
import { FaultError, type Fault, type FaultCode } from '../state/faults.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { beginWork, NOBODY, request, type Directory, type NeighbourDirectory, type Work } from './ask.ts';
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

/** Returns the configuration of the program that makes a network, as it is now; null for a network of cleat. */
export type TermsOf = (definition: NetworkDefinition, outside: string | null) => ExternalTerms | null;

/** Serves the networks that programs of others make. */
export interface ExternalLeases {
  termsOf: TermsOf;
  /** Called when an owner has its lease of such a network. */
  granted: (owner: string, network: string) => void;
}

/** For callers whose networks are all of cleat. */
export const NO_EXTERNALS: ExternalLeases = { termsOf: () => null, granted: () => {} };

interface Parts {
  directory: Directory;
  neighbours: NeighbourDirectory;
  kernel: Kernel;
  externals: ExternalLeases;
}

export const lease = (
  directory: Directory,
  neighbours: NeighbourDirectory,
  kernel: Kernel,
  externals: ExternalLeases,
) =>
  fromPromise<Granted, LeaseInput>(async ({ input, signal }) => {
    const parts = { directory, neighbours, kernel, externals };
    try {
      return await attempt(parts, input, signal);
    } catch (refused) {
      if (!(refused instanceof FaultError) || !PASSING.has(refused.fault.code)) throw refused;
      await nextTurn(undefined, { signal }); // at a start the other container may come after this one
      // Only containers that are on their way out can have been in the way, so that one more attempt is enough.
      const departures = neighbours.departures(({ outside }) => outside === input.outside);
      if (departures === null) throw refused;
      await departures;
      signal.throwIfAborted();
      return attempt(parts, input, signal);
    }
  });

const refusal = (code: FaultCode, message: string, owner?: string): FaultError =>
  new FaultError(code, message, owner === undefined ? {} : { owner });

/**
 * One attempt. When it fails, or its state is left before the container has what was granted, it gives that back. It also fails
 * when a defect stops a machine that has granted something: the machine that takes its place knows only what containers have.
 */
async function attempt(parts: Parts, input: LeaseInput, left: AbortSignal): Promise<Granted> {
  const { directory } = parts;
  const { owner, outside, networks } = input;
  const work = beginWork(left);
  const held: { ports: ResolvedPort[] } = { ports: [] };
  const giveBack = () => {
    for (const name of Object.keys(networks)) {
      directory.network(outside, name)?.send({ type: 'leave', owner, from: NOBODY });
      directory.rootless(outside)?.send({ type: 'release', owner: attachmentKey(owner, name), from: NOBODY });
    }
    if (input.uplink) directory.firewall(outside).send({ type: 'release', owner, from: NOBODY });
    if (held.ports.length > 0) directory.ports(outside).send({ type: 'unclaim', owner, ports: held.ports });
  };
  // It stays after a success: XState learns of that a few turns later, and aborts only if the state is left before.
  left.addEventListener('abort', giveBack, { once: true });
  try {
    return await grant(parts, input, held, work);
  } catch (error) {
    left.removeEventListener('abort', giveBack);
    work.fail();
    giveBack();
    throw error instanceof FaultError ? error : FaultError.of(toFault(error, 'lease'));
  } finally {
    work.end();
  }
}

async function grant(parts: Parts, input: LeaseInput, held: { ports: ResolvedPort[] }, work: Work): Promise<Granted> {
  const { directory, neighbours } = parts;
  const { hear, signal } = work;
  const { owner, outside, taking, uplink } = input;
  let given: PortTarget[] = [];
  if (taking !== null) {
    await nextTurn(undefined, { signal }); // at a start the other container may come after this one
    // The other container first: once it has agreed, its ports can be claimed.
    const id = containerIdOf(taking.owner);
    const targets = neighbours.yields(taking.owner, owner, taking.ports);
    if (targets === null) throw refusal('NOT_PUBLISHED', `container ${id} does not give these ports away`, id);
    given = targets;
  }
  // A container with an uplink is on no network.
  if (uplink) await request<FirewallAnswer>(hear(directory.firewall(outside)), { type: 'hold', uplink, owner }, signal);
  const leases = await join(parts, input, work);
  await leadOut(parts, input, work);
  if (input.ports.length > 0) await claim(parts, input, held, work);
  const inside = await look(parts, input, leases);
  signal.throwIfAborted();
  refuseOthers(input, leases, held.ports);
  for (const { network, terms } of leases) if (terms !== undefined) parts.externals.granted(owner, network);
  return { leases, ports: held.ports, inside, given };
}

/** Refuses anything but what the applied plan has named: whoever applies it gets these addresses and ports, and no others. */
function refuseOthers(
  { promised = null, owner }: LeaseInput,
  leases: readonly Lease[],
  ports: readonly ResolvedPort[],
): void {
  if (promised === null) return;
  const moved = [
    ...leases.filter((lease, i) => !isDeepStrictEqual(lease, promised.leases[i])).map(({ network }) => network),
    ...(isDeepStrictEqual(ports, promised.ports) ? [] : ['its host ports']),
  ];
  if (moved.length === 0) return;
  const message = `container ${containerIdOf(owner)} would get something else than planned from ${moved.join(', ')}`;
  throw refusal('PLAN_OUTDATED', message);
}

const NOW = Promise.resolve();

/** Joins the networks side by side. Resolves with the leases, in the order of the networks in the input. */
async function join({ directory, externals }: Parts, input: LeaseInput, { hear, signal }: Work): Promise<Lease[]> {
  const { owner, outside, networks } = input;
  const joins: Promise<Extract<NetworkAnswer, { type: 'leased' }>>[] = [];
  for (const [name, options] of Object.entries(networks)) {
    const network = directory.network(outside, name);
    if (network === null)
      throw refusal('NO_SUCH_NETWORK', `unable to find network with name or ID ${name}: network not found`);
    const refused = directory.refusal?.(name) ?? null;
    if (refused !== null) throw FaultError.of(refused);
    const answer = request<Extract<NetworkAnswer, { type: 'leased' | 'refused' }>>(
      hear(network),
      { type: 'join', owner, options },
      signal,
    );
    answer.catch(() => {}); // the first refusal is the one that is reported
    joins.push(answer);
    // A network that refuses at once keeps those after it from being made.
    await Promise.race([answer, NOW]);
  }
  return (await Promise.all(joins)).map(({ lease, definition }) => {
    const terms = externals.termsOf(definition, outside);
    return terms === null ? lease : { ...lease, terms };
  });
}

/** Holds the way out of a rootless outside for each attachment. */
async function leadOut(
  { directory }: Parts,
  { owner, outside, networks }: LeaseInput,
  { hear, signal }: Work,
): Promise<void> {
  const wayOut = directory.rootless(outside);
  if (wayOut === null) return;
  hear(wayOut);
  const ask = (name: string) =>
    request<RootlessAnswer>(wayOut, { type: 'hold', owner: attachmentKey(owner, name) }, signal);
  await Promise.all(Object.keys(networks).map(ask));
}

/** Claims host ports. Random ones that the host turns out to listen on are replaced. */
async function claim(
  { directory, kernel }: Parts,
  input: LeaseInput,
  held: { ports: ResolvedPort[] },
  work: Work,
): Promise<void> {
  const { owner, outside, taking } = input;
  const { hear, signal } = work;
  const machine = hear(directory.ports(outside));
  const avoid: number[] = [];
  for (;;) {
    const message = { type: 'claim', owner, ports: input.ports, avoid: [...avoid], giver: taking?.owner ?? null };
    const { ports } = await request<PortsAnswer>(machine, message, signal);
    held.ports = ports;
    signal.throwIfAborted();
    if (input.reserved === true) return;
    const busy = await heldByHost(kernel, outside, ports, taking?.ports ?? []);
    signal.throwIfAborted();
    if (busy === null) return;
    const random = input.ports.some((mapping) => (mapping.host_port ?? 0) === 0 && busy.random(mapping.container_port));
    if (!random || avoid.length >= PORT_ATTEMPTS) throw FaultError.of(busy.fault);
    machine.send({ type: 'unclaim', owner, ports });
    held.ports = [];
    avoid.push(busy.port);
  }
}

/** Refuses a MAC that was asked for and that a bridge or a port of it has. Resolves with the links inside the namespace. */
async function look({ kernel }: Parts, input: LeaseInput, leases: readonly Lease[]): Promise<string[]> {
  const { outside, networks, inside } = input;
  const asked = leases.filter(({ network }) => networks[network]?.static_mac !== undefined);
  const taken = asked.length === 0 ? null : await macOnBridge(kernel, outside, asked);
  if (taken !== null) throw FaultError.of(taken);
  const links = inside === null ? [] : await kernel.outside(outside).kernel.links(inside);
  return links.map(({ name }) => name);
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
    const families = address === '' ? ([4, 6] as const) : [familyOf(address)];
    for (let i = 0; i < range; i++) {
      if (isGiven(protocol, address, hostPort + i)) continue;
      for (const family of families) probes.push({ protocol, family, address, port: hostPort + i, containerPort });
    }
  }
  const holders = await kernel
    .listening(outside)
    .portProbe(probes)
    .catch((error: unknown) => {
      throw FaultError.of(toFault(error, 'portProbe'));
    });
  // An address the host does not have (yet) cannot have a listener either.
  const holder = holders.find(({ code }) => code !== 'EADDRNOTAVAIL');
  const busy = holder === undefined ? undefined : probes[holder.index];
  if (holder === undefined || busy === undefined) return null;
  if (isForRootAlone(holder.code)) {
    const fault = privileged(portText(busy.protocol, busy.address, busy.port), busy.port);
    return { fault, port: busy.port, random: () => false };
  }
  const who = holder.pid === null ? 'another process' : `pid ${holder.pid} (${holder.command ?? '?'})`;
  const fault: Fault = {
    code: 'PORT_TAKEN',
    message: `port ${portText(busy.protocol, busy.address, busy.port)} is in use on the host by ${who}`,
    errno: holder.code,
    owner: who,
  };
  return { fault, port: busy.port, random: (containerPort: number) => containerPort === busy.containerPort };
}
