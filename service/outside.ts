/**
 * An outside: its shared machines, and what the containers' snapshots say of them: who has which lease, port, name, uplink.
 *
 * Guarantees: read from the containers alone. What was granted to one that is again what it was earlier goes back.
 * Limits: the machines themselves are made and started by shared.ts.
 */
import { createActor, fromCallback, type ActorRefFrom, type AnyActorRef } from 'xstate';
import type { firewallMachine, RulesetFindings, Switches } from '../machines/firewall.ts';
import type { firewalldMachine } from '../machines/firewalld.ts';
import type { networkMachine } from '../machines/network.ts';
import type { Leases } from '../machines/plan/lease.ts';
import { nameEntries, type Names } from '../machines/plan/names.ts';
import { without } from '../machines/plan/port-list.ts';
import type { Claims } from '../machines/plan/ports.ts';
import { isUnmanaged } from '../machines/plan/unmanaged.ts';
import { mayRunUplink } from '../machines/plan/uplink.ts';
import type { portsMachine } from '../machines/ports.ts';
import type { resolverMachine } from '../machines/resolver.ts';
import type { ContainerContext } from '../state/container.ts';
import type { NetworkDefinition } from '../state/network.ts';

/** The machines of one outside. */
export interface Outside {
  firewall: ActorRefFrom<typeof firewallMachine>;
  firewalld: ActorRefFrom<typeof firewalldMachine>;
  ports: ActorRefFrom<typeof portsMachine>;
  resolver: ActorRefFrom<typeof resolverMachine>;
  networks: Map<string, ActorRefFrom<typeof networkMachine>>;
}

/** Who wants to know of outsides: that there is one more, and what a look at its table has found. */
export interface OutsideWatcher {
  opened(outside: string | null): void;
  found(outside: string | null, findings: RulesetFindings): void;
  /** The bridge of an unmanaged network is there again, or another one in its place. */
  returned(outside: string | null, network: string): void;
  /** There is no such outside any more. */
  closed(outside: string | null): void;
}

/** What the snapshots say. */
export interface Adopted {
  leases: ReadonlyMap<string, Leases>;
  /** Networks that need the firewall. */
  networks: string[];
  /** Containers whose uplink may run. */
  uplinks: string[];
  found: Switches | null;
  /** Bridges of those networks. */
  bridges: string[];
  /** Bridges in firewalld's zone by our doing. */
  bound: readonly string[];
  /** There is a record of this outside. */
  recorded: boolean;
  claims: Claims;
  names: Names;
  recovering: boolean;
}

export const NOTHING: Adopted = {
  leases: new Map(),
  networks: [],
  uplinks: [],
  found: null,
  bridges: [],
  bound: [],
  recorded: false,
  claims: {},
  names: {},
  recovering: false,
};

export const machinesOf = ({ firewall, firewalld, ports, resolver, networks }: Outside): AnyActorRef[] => [
  ...networks.values(),
  firewall,
  firewalld,
  ports,
  resolver,
];

/** Nothing of it is in the kernel, and nothing under way. One that a defect has stopped is about to be replaced: that is. */
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

/** What the containers say of an outside, and what its own record does. */
export function adopted(
  definitions: ReadonlyMap<string, NetworkDefinition>,
  outside: string | null,
  containers: readonly ContainerContext[],
  record: Pick<Adopted, 'found' | 'bound' | 'recorded'>,
): Adopted {
  const mine = containers.filter((container) => container.outside === outside);
  const leases = new Map<string, Leases>();
  const claims: Record<string, Claims[string]> = {};
  const names: Record<string, Names[string]> = {};
  for (const container of mine) {
    const { owner, attachments } = container;
    for (const attachment of attachments) {
      leases.set(attachment.network, { ...leases.get(attachment.network), [owner]: attachment });
    }
    const claimed = claimsOf(container);
    if (claimed.length > 0) claims[owner] = claimed;
    // Also those on their way in or out: registering again is theirs to do, and so is taking out, at the latest with the
    // lease.
    const entries = nameEntries(container, attachments);
    if (entries.length > 0) names[owner] = entries;
  }
  // An unmanaged one needs no firewall.
  const rules = (name: string) => {
    const definition = definitions.get(name);
    return definition === undefined || !isUnmanaged(definition);
  };
  const uplinks = mine.filter(mayRunUplink).map(({ owner }) => owner);
  const networks = [...leases.keys()].filter(rules);
  return {
    ...record,
    leases,
    networks,
    bridges: networks.flatMap((name) => definitions.get(name)?.network_interface ?? []),
    uplinks,
    claims,
    names,
    recovering: true,
  };
}

/** Asks machines for what nobody waits for: their answers go nowhere. */
export const NOBODY = createActor(fromCallback(() => {})).start();

/** A container is again what this says, of an earlier moment: what else it was granted since goes back. */
export function reclaim(on: Outside, container: ContainerContext): void {
  const { owner, attachments } = container;
  const from = NOBODY;
  const kept = (network: string) => attachments.some((attachment) => attachment.network === network);
  for (const [name, actor] of on.networks) {
    const leased = Object.hasOwn(actor.getSnapshot().context.leases, owner);
    if (leased && !kept(name)) actor.send({ type: 'leave', owner, from });
  }
  const ports = without(on.ports.getSnapshot().context.claims[owner] ?? [], claimsOf(container));
  if (ports.length > 0) on.ports.send({ type: 'unclaim', owner, ports });
  const named = on.resolver.getSnapshot().context.names[owner] ?? [];
  const networks = named.map(({ network }) => network).filter((network) => !kept(network));
  if (networks.length > 0) on.resolver.send({ type: 'unregister', owner, networks, from });
  const held = on.firewall.getSnapshot().context.uplinks.includes(owner);
  if (held && !mayRunUplink(container)) on.firewall.send({ type: 'release', owner, from });
}

/** Host ports that a container has, or is about to have. */
const claimsOf = ({ ports, change }: ContainerContext): Claims[string] => [...ports, ...(change?.ports ?? [])];

/** Networks whose rules are being made: what is missing of them is nobody's doing. */
export const raisingOf = (networks: ReadonlyMap<string, ActorRefFrom<typeof networkMachine>>): ReadonlySet<string> =>
  new Set([...networks].filter(([, actor]) => actor.getSnapshot().matches('raising')).map(([name]) => name));
