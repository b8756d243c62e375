/**
 * Groups the containers on the map by how they reach the outside: a network's bridge, a program, the namespace of another, or not.
 *
 * Guarantees: pure. Every container is in exactly one group, that of the network with its default route or of the first one; its
 * other networks are in `also`.
 */
import { networksOf } from '../model/search.ts';
import { kindOf } from '../model/standing.ts';
import type { ContainerView, NetworkDefinition, SharedView } from '../model/wire.ts';

export interface Group {
  /** Unique on the map: also what lines refer to. */
  key: string;
  outside: string | null;
  kind: 'network' | 'uplink' | 'host' | 'shares' | 'none';
  name: string;
  /** Under the name: the bridge and the subnets. */
  facts: string[];
  /** Null: it has no machine. */
  machine: SharedView | null;
  members: Member[];
}

export interface Member {
  view: ContainerView;
  /** Keys of the other groups that it belongs to. */
  also: string[];
}

const networkKey = (outside: string | null, name: string): string => `network ${name} ${outside ?? ''}`;

function placeOf(view: ContainerView): Pick<Group, 'key' | 'kind' | 'name'> & { also: string[] } {
  const { id, netns, outside, uplink } = view;
  if (netns.mode === 'host') return { key: 'host', kind: 'host', name: 'the namespace of the host', also: [] };
  if (netns.mode === 'container') {
    const { id: owner } = netns;
    return { key: `shares ${owner}`, kind: 'shares', name: `the namespace of ${owner}`, also: [] };
  }
  if (uplink !== null) return { key: `uplink ${id}`, kind: 'uplink', name: uplink.program, also: [] };
  const [first, ...others] = networksOf(view).toSorted((a, b) => priority(view, b) - priority(view, a));
  if (first === undefined) return { key: `none ${outside ?? ''}`, kind: 'none', name: 'no network', also: [] };
  return {
    key: networkKey(outside, first),
    kind: 'network',
    name: first,
    also: others.map((name) => networkKey(outside, name)),
  };
}

const priority = (view: ContainerView, network: string): number =>
  view.requested_networks[network]?.gateway_priority ?? 0;

/** Returns the groups: the networks first, those without a container too, then what stands for one container each. */
export function groupsOf(
  containers: readonly ContainerView[],
  networks: readonly NetworkDefinition[],
  shared: ReadonlyMap<string, SharedView>,
): Group[] {
  const machines = new Map([...shared.values()].map((machine) => [machineKey(machine), machine]));
  const groups = new Map<string, Group>();
  const groupOf = (place: Pick<Group, 'key' | 'kind' | 'name' | 'outside'>): Group => {
    const known = groups.get(place.key);
    if (known !== undefined) return known;
    const made: Group = { ...place, facts: [], machine: machines.get(place.key) ?? null, members: [] };
    groups.set(place.key, made);
    return made;
  };
  for (const { name } of networks) groupOf({ key: networkKey(null, name), kind: 'network', name, outside: null });
  for (const view of containers) {
    const { also, ...place } = placeOf(view);
    const group = groupOf({ ...place, outside: view.outside });
    group.members.push({ view, also });
    if (view.uplink !== null) group.facts = [view.uplink.interface ?? 'not started'];
  }
  const known = new Map(networks.map((network) => [network.name, network]));
  for (const group of groups.values()) if (group.kind === 'network') group.facts = factsOf(known.get(group.name));
  const order: Group['kind'][] = ['network', 'uplink', 'shares', 'host', 'none'];
  return [...groups.values()].sort((a, b) => order.indexOf(a.kind) - order.indexOf(b.kind));
}

function machineKey({ kind, name, outside, users }: SharedView): string {
  if (kind === 'network') return networkKey(outside, name);
  return kind === 'uplink' ? `uplink ${users[0] ?? ''}` : `${kind} ${outside ?? ''}`;
}

function factsOf(network: NetworkDefinition | undefined): string[] {
  if (network === undefined) return ['no such network'];
  const { network_interface: bridge, subnets, internal } = network;
  return [internal ? `${bridge}, internal` : bridge, ...subnets.map(({ subnet }) => subnet)];
}

/** Returns the members that are shown when there is no room for all: the chosen one, then those that need somebody. */
export function selected(members: readonly Member[], chosen: string | null, room: number): Member[] {
  if (members.length <= room) return [...members];
  const urgency = ({ view }: Member): number =>
    view.id === chosen ? 0 : ['failed', 'degraded'].includes(kindOf(view.state)) ? 1 : 2;
  const shown = new Set(
    members
      .map((member, index) => ({ member, index }))
      .sort((a, b) => urgency(a.member) - urgency(b.member) || a.index - b.index)
      .slice(0, room)
      .map(({ member }) => member),
  );
  return members.filter((member) => shown.has(member));
}
