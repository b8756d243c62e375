/**
 * An outside: its shared machines, and what the containers' snapshots say of it: the owner of each lease, port, name, uplink.
 *
 * Guarantees: read from the containers alone. If a container is reset to an earlier state, what it was granted since is released.
 * Limits: shared.ts makes and starts the machines themselves.
 */
import type { ActorRefFrom, AnyActorRef } from 'xstate';
import { NOBODY } from '../../effects/ask.ts';
import type { firewallMachine, RulesetFindings, Switches } from '../../machines/firewall.ts';
import type { firewalldMachine } from '../../machines/firewalld.ts';
import type { networkMachine } from '../../machines/network.ts';
import type { Leases } from '../../plan/networks/lease.ts';
import { nameEntries, type Names, type RemoteZones } from '../../plan/names/names.ts';
import { without } from '../../plan/ports/port-list.ts';
import type { Claims } from '../../plan/ports/ports.ts';
import { isExternal } from '../../plan/networks/external.ts';
import { isUnmanaged } from '../../plan/networks/unmanaged.ts';
import { mayRunUplink } from '../../plan/uplinks/uplink.ts';
import type { portsMachine } from '../../machines/ports.ts';
import type { resolverMachine } from '../../machines/resolver.ts';
import type { rootlessMachine } from '../../machines/rootless.ts';
import { attachmentKey } from '../../plan/networks/attachment-key.ts';
import type { ContainerContext, Lease } from '../../state/container.ts';
import type { NetworkDefinition } from '../../state/network.ts';

/** The machines of one outside. */
export interface Outside {
  firewall: ActorRefFrom<typeof firewallMachine>;
  firewalld: ActorRefFrom<typeof firewalldMachine>;
  ports: ActorRefFrom<typeof portsMachine>;
  resolver: ActorRefFrom<typeof resolverMachine>;
  /** The way out of a rootless daemon's own outside; null for any other outside. */
  rootless: ActorRefFrom<typeof rootlessMachine> | null;
  networks: Map<string, ActorRefFrom<typeof networkMachine>>;
}

/** Holds the machines that the actors of an outside are made from, with their effects. */
export interface SharedMachines {
  firewall: typeof firewallMachine;
  firewalld: typeof firewalldMachine;
  network: typeof networkMachine;
  resolver: typeof resolverMachine;
  rootless: typeof rootlessMachine;
}

/** Receives the changes of outsides: that one is opened or closed, and what a look at its table has found. */
export interface OutsideWatcher {
  opened(outside: string | null): void;
  found(outside: string | null, findings: RulesetFindings): void;
  /** Called when the bridge of an unmanaged network exists again, or another one in its place. */
  returned(outside: string | null, network: string): void;
  /** Called when an outside is closed. */
  closed(outside: string | null): void;
}

/** The state of an outside according to the snapshots and its record. */
export interface Adopted {
  leases: ReadonlyMap<string, Leases>;
  /** Networks that need the firewall. */
  networks: string[];
  /** Containers whose uplink may run. */
  uplinks: string[];
  /** The attachments, which hold a rootless outside's way out. */
  attachments: string[];
  found: Switches | null;
  /** Bridges of those networks. */
  bridges: string[];
  /** Bridges that we have put into firewalld's zone. */
  bound: readonly string[];
  /** True if there is a record of this outside. */
  recorded: boolean;
  claims: Claims;
  names: Names;
  recovering: boolean;
}

export const NOTHING: Adopted = {
  leases: new Map(),
  networks: [],
  uplinks: [],
  attachments: [],
  found: null,
  bridges: [],
  bound: [],
  recorded: false,
  claims: {},
  names: {},
  recovering: false,
};

export const firewallInput = (outside: string | null, { networks, uplinks, found, recorded }: Adopted) => ({
  outside,
  adopted: networks,
  uplinks,
  found,
  recorded,
});

export const firewalldInput = (outside: string | null, { bridges, bound }: Adopted) => ({
  outside,
  adopted: bridges,
  bound,
});

export const resolverInput = (outside: string | null, { names, recovering }: Adopted, remote: RemoteZones = {}) => ({
  outside,
  adopted: names,
  remote,
  recovering,
});

export const machinesOf = ({ firewall, firewalld, ports, resolver, rootless, networks }: Outside): AnyActorRef[] => [
  ...networks.values(),
  ...(rootless === null ? [] : [rootless]),
  firewall,
  firewalld,
  ports,
  resolver,
];

/**
 * Returns true if the machines have nothing in the kernel and nothing under way. A machine that a defect has stopped is not idle:
 * it is about to be replaced.
 */
export function isIdle(on: Outside): boolean {
  const { wanted, bound } = on.firewalld.getSnapshot().context;
  return (
    machinesOf(on).every((actor) => (actor.getSnapshot() as { status: string }).status === 'active') &&
    on.firewall.getSnapshot().matches('down') &&
    on.firewalld.getSnapshot().hasTag('rest') &&
    wanted.length + bound.length === 0 &&
    on.resolver.getSnapshot().matches('idle') &&
    [...on.networks.values()].every((actor) => actor.getSnapshot().matches('down'))
  );
}

/** Returns the state of an outside according to its containers and its own record. */
export function adopted(
  definitions: ReadonlyMap<string, NetworkDefinition>,
  outside: string | null,
  containers: readonly ContainerContext[],
  record: Pick<Adopted, 'found' | 'bound' | 'recorded'>,
): Adopted {
  const mine = containers.filter((container) => container.outside === outside);
  const leases = new Map<string, Map<string, Lease>>();
  const claims: Record<string, Claims[string]> = {};
  const names: Record<string, Names[string]> = {};
  for (const container of mine) {
    const { owner, attachments } = container;
    for (const attachment of attachments) {
      const held = leases.get(attachment.network);
      if (held === undefined) leases.set(attachment.network, new Map([[owner, attachment]]));
      else held.set(owner, attachment);
    }
    const claimed = claimsOf(container);
    if (claimed.length > 0) claims[owner] = claimed;
    // Includes containers in the middle of an operation: they register their names again themselves, and remove them at the
    // latest with the lease.
    const entries = nameEntries(container, attachments);
    if (entries.length > 0) names[owner] = entries;
  }
  // An unmanaged network needs no firewall. An external one holds it for the forwarding switches, and has no bridge of ours.
  const external = (name: string) => {
    const definition = definitions.get(name);
    return definition !== undefined && isExternal(definition);
  };
  const rules = (name: string) => {
    const definition = definitions.get(name);
    return definition === undefined || !isUnmanaged(definition) || external(name);
  };
  const uplinks = mine.filter(mayRunUplink).map(({ owner }) => owner);
  const networks = [...leases.keys()].filter(rules);
  return {
    ...record,
    leases,
    networks,
    bridges: networks.flatMap((name) => (external(name) ? [] : (definitions.get(name)?.network_interface ?? []))),
    uplinks,
    attachments: mine.flatMap(({ owner, attachments }) =>
      attachments.map(({ network }) => attachmentKey(owner, network)),
    ),
    claims,
    names,
    recovering: true,
  };
}

/** Resets a container to this earlier context: releases what it was granted since. */
export function reclaim(on: Outside, container: ContainerContext): void {
  const { owner, attachments } = container;
  const from = NOBODY;
  const kept = (network: string) => attachments.some((attachment) => attachment.network === network);
  for (const [name, actor] of on.networks) {
    const leased = actor.getSnapshot().context.leases.has(owner);
    if (leased && !kept(name)) actor.send({ type: 'leave', owner, from });
  }
  const ports = without(on.ports.getSnapshot().context.claims[owner] ?? [], claimsOf(container));
  if (ports.length > 0) on.ports.send({ type: 'unclaim', owner, ports });
  const named = on.resolver.getSnapshot().context.names[owner] ?? [];
  const networks = named.map(({ network }) => network).filter((network) => !kept(network));
  if (networks.length > 0) on.resolver.send({ type: 'unregister', owner, networks, from });
  for (const user of on.rootless?.getSnapshot().context.users ?? []) {
    const network = user.startsWith(attachmentKey(owner, '')) ? user.slice(attachmentKey(owner, '').length) : null;
    if (network !== null && !kept(network)) on.rootless?.send({ type: 'release', owner: user, from });
  }
  const held = on.firewall.getSnapshot().context.uplinks.includes(owner);
  if (held && !mayRunUplink(container)) on.firewall.send({ type: 'release', owner, from });
}

/** Returns the host ports that a container has, or is about to have. */
const claimsOf = ({ ports, change }: ContainerContext): Claims[string] => [...ports, ...(change?.ports ?? [])];

/** Returns the networks whose rules are being made: rules that are missing there are not drift. */
export const raisingOf = (networks: ReadonlyMap<string, ActorRefFrom<typeof networkMachine>>): ReadonlySet<string> =>
  new Set([...networks].filter(([, actor]) => actor.getSnapshot().matches('raising')).map(([name]) => name));
