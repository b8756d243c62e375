/**
 * How the inspector shows what containers share, and who uses it: the machines of each outside, the forwarders, the uplinks.
 *
 * Guarantees: made from snapshots alone, so it never fails and never waits.
 * Limits: `detail` has a few facts that a person looks for first. The machines' contexts hold more.
 */
import { containerIdOf } from '../../plan/owner.ts';
import { stateName } from '../../plan/states.ts';
import type { SharedView } from '../../state/answers/inspector.ts';
import type { ContainerContext } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import type { SharedMachine } from '../outsides/shared.ts';
import { defectOf } from '../records/snapshot.ts';

const keyOf = (kind: SharedView['kind'], outside: string | null, name: string): string =>
  `${kind} ${name}${outside === null ? '' : ` in ${outside}`}`;

const idsOf = (owners: object): string[] => Object.keys(owners).map(containerIdOf);

/** Returns the key of a container's uplink. It names no outside, because an id is unique in all of them. */
export const uplinkKey = (id: string): string => keyOf('uplink', null, id);

export function machineView(machine: SharedMachine, definitions: ReadonlyMap<string, NetworkDefinition>): SharedView {
  const { kind, outside, name, actor } = machine;
  const snapshot = actor.getSnapshot();
  const key = keyOf(kind, outside, name);
  const { fault = null } = snapshot.context as { fault?: Fault | null };
  return {
    kind,
    key,
    name,
    outside,
    state: stateName(snapshot),
    fault: defectOf(snapshot, key) ?? fault,
    ...usesOf(machine, definitions),
  };
}

function usesOf(
  { kind, actor }: SharedMachine,
  definitions: ReadonlyMap<string, NetworkDefinition>,
): Pick<SharedView, 'users' | 'detail'> {
  switch (kind) {
    case 'network': {
      const { definition, leases } = actor.getSnapshot().context;
      const { network_interface: bridge, driver, subnets, internal } = definition;
      const users = [...leases.keys()].map(containerIdOf);
      return { users, detail: { bridge, driver, subnets: subnets.map(({ subnet }) => subnet), internal } };
    }
    case 'firewall': {
      const { holders, uplinks, found, drift } = actor.getSnapshot().context;
      return { users: [...holders, ...uplinks.map(containerIdOf)], detail: { switches: found, drift: drift.length } };
    }
    case 'firewalld': {
      const { wanted, bound } = actor.getSnapshot().context;
      const named = [...definitions.values()].filter(({ network_interface: bridge }) => wanted.includes(bridge));
      return { users: named.map(({ name }) => name), detail: { wanted, bound } };
    }
    case 'ports': {
      const { claims } = actor.getSnapshot().context;
      const hostPorts = Object.values(claims).reduce((sum, ports) => sum + ports.length, 0);
      return { users: idsOf(claims), detail: { ports: hostPorts } };
    }
    case 'prepared': {
      const { ready, size, attempts } = actor.getSnapshot().context;
      return { users: [], detail: { ready: ready.length, size, attempts } };
    }
    case 'rootless': {
      const { users: attachments, settings, link } = actor.getSnapshot().context;
      const users = [...new Set(attachments.map(containerIdOf))];
      return { users, detail: { program: settings.program, interface: link?.name ?? null } };
    }
    case 'resolver': {
      const { names } = actor.getSnapshot().context;
      return { users: idsOf(names), detail: { names: Object.values(names).reduce((sum, all) => sum + all.length, 0) } };
    }
  }
}

/** Returns the uplink of a container; null if it has none. `guests` returns the other containers in its namespace. */
export function uplinkView(context: ContainerContext, guests: () => readonly string[]): SharedView | null {
  const { id, outside, uplink, lastFault = null, fault } = context;
  if (uplink === undefined) return null;
  const { settings, made } = uplink;
  return {
    kind: 'uplink',
    key: uplinkKey(id),
    name: settings.program,
    outside,
    state: made === null ? 'none' : 'ready',
    users: [id, ...guests()],
    fault: made === null ? (lastFault ?? fault) : null,
    detail: made === null ? {} : { interface: made.name, mac: made.mac },
  };
}

/** Returns the forwarders of all outsides with the containers whose ports they carry. */
export function forwarderViews(containers: readonly ContainerContext[]): SharedView[] {
  const users = new Map<string | null, ContainerContext[]>();
  for (const context of containers) {
    const { portHandler, ports, outside } = context;
    if (portHandler !== 'forwarder' || ports.length === 0) continue;
    users.set(outside, [...(users.get(outside) ?? []), context]);
  }
  return [...users].map(([outside, carried]) => ({
    kind: 'forwarder',
    key: keyOf('forwarder', outside, 'forwarder'),
    name: 'forwarder',
    outside,
    state: 'carrying',
    users: carried.map(({ id }) => id),
    fault: null,
    detail: { ports: carried.reduce((sum, { ports }) => sum + ports.length, 0) },
  }));
}
