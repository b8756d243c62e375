/**
 * Networks on a parent: those of the drivers macvlan, ipvlan and vlan, whose containers each have a child of a link of the host.
 * Says which link that is, and which requests and options make no sense there.
 *
 * Guarantees: pure. The messages are Podman's where it has one.
 * Limits: the kernel decides if a link can be a parent. Whether it has the driver at all shows when the first link is made
 * (effects/links/child-link.ts).
 */
import type { ChildLink } from '../../state/container.ts';
import type { Fault } from '../../state/faults.ts';
import type { NetworkDefinition, NetworkRequest } from '../../state/network.ts';
import { overlaps, parseSubnet } from '../addresses/address.ts';
import { isUnknown } from './external.ts';

type Kind = Pick<NetworkDefinition, 'driver' | 'options'>;

/** Options that each driver has. A bridge has all others (network.ts), but neither `bclim` nor `conflist`. */
const OPTIONS: Readonly<Record<Exclude<NetworkDefinition['driver'], 'bridge' | 'overlay'>, ReadonlySet<string>>> = {
  macvlan: new Set(['mode', 'bclim', 'mtu', 'metric', 'no_default_route']),
  ipvlan: new Set(['mode', 'mtu', 'metric', 'no_default_route']),
  vlan: new Set(['vlan', 'mtu', 'metric', 'no_default_route']),
  cni: new Set(['conflist']),
  netavark: new Set(['vlan', 'mtu', 'metric', 'no_default_route', 'isolate']),
};

const MACVLAN_MODES = ['bridge', 'private', 'vepa', 'passthru'] as const;
const IPVLAN_MODES = ['l2', 'l3', 'l3s'] as const;
const MODES: Readonly<Record<NetworkDefinition['driver'], readonly string[]>> = {
  bridge: ['managed', 'unmanaged'],
  overlay: [],
  macvlan: MACVLAN_MODES,
  ipvlan: IPVLAN_MODES,
  vlan: [],
  cni: [],
  netavark: [],
};

export const isOnParent = ({ driver }: Pick<NetworkDefinition, 'driver'>): boolean =>
  ['macvlan', 'ipvlan', 'vlan'].includes(driver);

/** True for a network that has a bridge of ours or of netavark, with routes and rules for its subnets. */
const isBridged = ({ driver, options }: Kind): boolean => !isOnParent({ driver }) && options.mode !== 'unmanaged';

/**
 * Returns the networks whose subnets a network must not overlap. One on a parent has the subnet of a LAN, which others on links of
 * others may have too (parentWarnings); Podman accepts that.
 */
export const rivalsOf = <Network extends Kind>(
  { driver }: Pick<NetworkDefinition, 'driver'>,
  networks: readonly Network[],
): Network[] => networks.filter((other) => !isOnParent({ driver }) || isBridged(other));

/** Returns the link that each container of a network gets; null for a veth on a bridge. */
export function childOf({ driver, options: { mode, bclim, vlan } }: Kind): ChildLink | null {
  switch (driver) {
    case 'bridge':
    case 'overlay':
    case 'cni':
    case 'netavark':
      return null;
    case 'macvlan':
      return {
        kind: driver,
        mode: MACVLAN_MODES.find((one) => one === mode) ?? 'bridge',
        bclim: bclim === undefined ? null : Number(bclim),
      };
    case 'ipvlan':
      return { kind: driver, mode: IPVLAN_MODES.find((one) => one === mode) ?? 'l2' };
    case 'vlan':
      return { kind: driver, id: Number(vlan) };
  }
}

/** True if the kernel gives the link the MAC of its parent (ipvlan_link_new, macvlan_common_newlink), and no other works. */
export const hasParentsMac = (child: ChildLink): boolean =>
  child.kind === 'ipvlan' || (child.kind === 'macvlan' && child.mode === 'passthru');

/** True if the parent can have one such link only, in whatever namespace (register_vlan_dev, macvlan_common_newlink). */
export const isOnlyOne = (child: ChildLink): boolean =>
  child.kind === 'vlan' || (child.kind === 'macvlan' && child.mode === 'passthru');

/** Names the driver with what makes two networks of it differ: "macvlan (mode passthru)". */
export const childText = (child: ChildLink): string =>
  child.kind === 'vlan' ? `vlan ${child.id}` : `${child.kind} (mode ${child.mode})`;

/** Returns a fault for the first option that a driver does not have, or needs and lacks; null if there is none. */
export function strangeOption({ driver, options }: Kind): Fault | null {
  const bad = (message: string): Fault => ({ code: 'BAD_REQUEST', message });
  const { mode } = options;
  const known = driver === 'bridge' || driver === 'overlay' ? null : OPTIONS[driver];
  const strange = Object.keys(options).find((one) =>
    known === null ? ['bclim', 'conflist'].includes(one) : !known.has(one),
  );
  if (strange !== undefined) return bad(`unsupported ${driver} network option ${strange}`);
  if (mode !== undefined && !MODES[driver].includes(mode)) return bad(`unknown ${driver} mode ${JSON.stringify(mode)}`);
  if (driver === 'vlan' && options.vlan === undefined)
    return bad('driver vlan needs a tag: the option vlan, 1 to 4094');
  return null;
}

/** What is missing for addresses from DHCP. The beginning is netavark's. */
const NO_DHCP = 'dhcp ipam driver is not yet supported: cleat has no DHCP client that would get and renew addresses';

/** Returns who gives out the addresses of a network: cleat itself, or nobody. */
export function ipamOf(request: NetworkRequest): { ipam: 'host-local' | 'none' } | { fault: Fault } {
  const { name, driver = 'bridge', subnets = [], ipam_options: { driver: asked } = {} } = request;
  const refused = (code: Fault['code'], message: string) => ({ fault: { code, message } });
  if (asked === 'dhcp') return refused('IPAM_UNSUPPORTED', NO_DHCP);
  if (asked === 'none') {
    if (subnets.length > 0) return refused('BAD_REQUEST', 'none ipam driver is set but subnets are given');
    return { ipam: 'none' };
  }
  if (isUnknown({ driver })) return { ipam: 'none' };
  if (!isOnParent({ driver }) || subnets.length > 0) return { ipam: 'host-local' };
  if (asked === 'host-local') {
    const what = 'driver needs at least one subnet specified when the host-local ipam driver is set';
    return refused('BAD_REQUEST', `${driver} ${what}`);
  }
  return refused('IPAM_UNSUPPORTED', `network ${name} names no subnet, so DHCP would give its addresses: ${NO_DHCP}`);
}

/** Returns the link that a network is on: its parent, which is that of the host's default route if none is named. */
export function parentOf(
  { name, driver, network_interface: named, options }: NetworkRequest,
  defaultLink: string | null,
): { parent: string } | { fault: Fault } {
  const { parent = named } = options ?? {};
  if (named !== undefined && parent !== named) {
    const message = `network ${name} has two parents: ${named} and ${parent}`;
    return { fault: { code: 'BAD_REQUEST', message } };
  }
  const link = parent ?? defaultLink;
  if (link !== null) return { parent: link };
  const message = `network ${name} (${driver}) names no parent, and failed to get default route interface: there is none`;
  return { fault: { code: 'PARENT_MISSING', message } };
}

/** Returns warnings for the user who makes such a network. `links`: those of the host. */
export function parentWarnings(
  { driver, network_interface: parent, subnets }: NetworkDefinition,
  { dns_enabled: dns }: NetworkRequest,
  { links, networks }: { links: readonly string[]; networks: readonly NetworkDefinition[] },
): string[] {
  const sharing = networks.filter(
    (other) =>
      other.network_interface === parent &&
      other.subnets.some((its) => subnets.some(({ subnet }) => overlaps(parseSubnet(subnet), parseSubnet(its.subnet)))),
  );
  const names = sharing.map(({ name }) => name).join(', ');
  return [
    ...(names === ''
      ? []
      : [`${names} on ${parent} has addresses of the same subnet: give each a range of its own (--ip-range)`]),
    ...(dns === true
      ? [`there is no DNS on networks of driver ${driver}, whose containers cannot reach the host`]
      : []),
    ...(links.includes(parent) ? [] : [`there is no link ${parent} now: containers are refused until there is one`]),
  ];
}
