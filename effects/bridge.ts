/**
 * A network's bridge and rules in its outside namespace: raised, changed, repaired and lowered.
 *
 * Guarantees: the rules stand before the bridge is up, and go after nothing can cross it. A bridge of ours is known by
 * its alias. Run twice, the outcome is the same. A bridge of others (mode=unmanaged) is looked at and never changed: its
 * network has no rules (unmanaged-bridge.ts).
 * Limits: addresses that others gave a bridge that is in use stay. Raising is for the first user: a bridge that is there
 * by then is what could not be lowered, and may be of another definition, so it is made anew.
 */
import type { RaiseInput, ReviseInput } from '../machines/network.ts';
import type { Member } from '../machines/plan/expected-bridge.ts';
import type { BridgeSeen } from '../machines/plan/unmanaged.ts';
import { isKernelError, type Link, type Outside, type RtnlRequest } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import { connectedRoute } from './connected-route.ts';
import { forwardIpv6 } from './forwarding.ts';
import type { Kernel, OutsideKernel } from './kernel.ts';
import { removeLinks } from './link.ts';
import { byLook } from './ruleset-turn.ts';
import { hostNeighbours } from './neighbour.ts';
import { refuse, stranger } from './refusal.ts';
import { networkRules, removeNetworkRules, type NetworkRules } from './ruleset.ts';
import { staleElements, SUBNET_SETS } from './ruleset-stale.ts';
import { requireIpv6, writeIfThere } from './switches.ts';
import { rejoinBridge, requireBridge } from './unmanaged-bridge.ts';

/** What a bridge has that nobody gave another: the kernel's default for Ethernet. */
const DEFAULT_MTU = 1500;

export const raiseNetwork =
  (kernel: Kernel) =>
  async ({ definition, mac, outside, unmanaged = false }: RaiseInput): Promise<BridgeSeen | null> => {
    const on = kernel.outside(outside);
    const { kernel: native } = on;
    if (unmanaged) return requireBridge(native, definition);
    await removeBridge(kernel, on, definition);
    await makeBridge(kernel, native, definition, mac);
    await setRules(native, kernel.instance.table, rulesOf(definition));
    await setMtu(native, definition);
    await dressBridge(native, definition);
    return null;
  };

/** The host's ends of the links of a network's containers. */
type Members = (outside: string | null, network: string) => readonly Member[];

/**
 * From one definition to another on a bridge that is in use: what the new one has more, then what the old one had more.
 * The rules change in one transaction. What others took of the bridge meanwhile is put back, ports and all.
 */
export const reviseNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ from, to, mac, outside, unmanaged = false }: ReviseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const name = to.network_interface;
    if (unmanaged) return rejoinBridge(native, to, members(outside, to.name));
    await makeBridge(kernel, native, to, mac);
    // Whatever `from` had: after a change that failed it is what the bridge may have, not what it has.
    await setRules(native, kernel.instance.table, rulesOf(to));
    const ports = () => members(outside, to.name);
    await restore(native, to, mac, ports);
    const kept = new Set(to.subnets.flatMap(({ subnet, gateway }) => [subnet, `${subnet} ${gateway}`]));
    const gone = from.subnets.filter(({ subnet, gateway }) => !kept.has(`${subnet} ${gateway}`));
    if (gone.length === 0) return;
    const replies = await native.rtnl([
      ...gone.map(({ subnet, gateway }) => addressOf('address.del', name, subnet, gateway)),
      // The kernel removes its own connected route with the address, but not one that `restore` has added.
      ...gone.filter(({ subnet }) => !kept.has(subnet)).map(({ subnet }) => disconnected(name, subnet)),
    ]);
    // It never came to that, or went with its address. With IPv6 off (dressBridge) addresses are gone already.
    refuse(
      replies.filter(({ code }) => !['EADDRNOTAVAIL', 'ESRCH'].includes(code)),
      name,
    );
    // An IPv4 address takes those added after it in its subnet along (__inet_del_ifa), an IPv6 address is there only once.
    await restore(native, to, mac, ports);
  };

/** Put back what is missing of a bridge that is in use, and make these links its ports again. The rules stand. */
export const repairNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ definition, mac, outside, unmanaged = false }: RaiseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    if (unmanaged) return rejoinBridge(native, definition, members(outside, definition.name));
    await makeBridge(kernel, native, definition, mac);
    await restore(native, definition, mac, () => members(outside, definition.name));
  };

/**
 * A bridge that is there, as this definition says, with these of its ports that are there. Which these are is asked in the
 * same turn in which the request for them is queued behind all earlier ones: what a container takes away at that moment
 * is taken away after it, and what it has taken away is not put back.
 */
async function restore(
  native: Outside,
  definition: NetworkDefinition,
  mac: string,
  members: () => readonly Member[],
): Promise<void> {
  const name = definition.network_interface;
  await setMac(native, name, mac);
  await setMtu(native, definition);
  await dressBridge(native, definition);
  const bridge = await native.link(name);
  const links = new Map((await native.links()).map((link) => [link.name, link]));
  const ports = members().filter(({ hostLink, alias }) => links.get(hostLink)?.alias === alias);
  const isStray = (link: Link | undefined) => link?.master !== bridge?.index || link?.up !== true;
  const replies = await native.rtnl([
    // The kernel's own, which came with the addresses: those may be there, and these gone.
    ...definition.subnets.map(({ subnet }) => connected(name, subnet)),
    // With its link down, or another MAC, the bridge forgot them.
    ...ports.flatMap((port) => hostNeighbours({ ...port, bridge: name })),
    // What a port is flagged with it loses with its bridge (link.ts), and no dump shows it.
    ...ports.map(({ hostLink }): RtnlRequest => ({
      op: 'link.set',
      name: hostLink,
      hairpin: true,
      ...(isStray(links.get(hostLink)) ? { master: name, up: true } : {}),
    })),
  ]);
  // ENODEV: gone meanwhile, with its container.
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV' && code !== 'EEXIST'),
    name,
  );
}

/** Writes the network's rules and removes the elements of its earlier definitions, in one transaction. */
function setRules(native: Outside, table: string, rules: NetworkRules): Promise<void> {
  const wanted = networkRules(table, rules);
  return byLook(native, async () => {
    await native.nft([...staleElements(table, rules.bridge, wanted, await subnetElements(native, table)), ...wanted]);
  });
}

/** Reads the sets that hold subnets of networks. Fails with ENOENT when there is no table. */
async function subnetElements(native: Outside, table: string) {
  const dumps = await Promise.all(SUBNET_SETS.map((set) => native.nftElements('inet', table, set)));
  return new Map(SUBNET_SETS.map((set, i) => [set, dumps[i] ?? []]));
}

/** The link alone: ours by its alias, or made. */
async function makeBridge(kernel: Kernel, native: Outside, definition: NetworkDefinition, mac: string): Promise<void> {
  const name = definition.network_interface;
  const alias = bridgeAlias(kernel.instance.name, definition.name);
  // Not in one go with the alias: after EEXIST the alias would be given to a bridge of somebody else.
  const made = await native.rtnl([{ op: 'link.add', kind: 'bridge', name, mac, group: kernel.instance.group }]);
  if (made[0]?.code === 'EEXIST') {
    const link = await native.link(name);
    if (link !== null && !isOurs(kernel, link, alias)) throw stranger(name, link.alias);
  } else {
    refuse(made, name);
  }
  refuse(await native.rtnl([{ op: 'link.set', name, alias }]), name);
}

/** Switches, addresses, and up: in this order, so that IPv6 is as it should be before there is an address. */
async function dressBridge(native: Outside, definition: NetworkDefinition): Promise<void> {
  const name = definition.network_interface;
  const v6 = definition.subnets.some(({ subnet }) => subnet.includes(':'));
  await requireIpv6(
    native,
    `network ${definition.name}`,
    definition.subnets.map(({ subnet }) => subnet),
  );
  const { v4, v6: switches6 } = bridgeSwitches(definition);
  await native.sysctlWrite({ ...v4, ...(v6 ? switches6 : {}) }, undefined, true);
  if (v6) await forwardIpv6(native);
  else await writeIfThere(native, switches6, undefined, true);
  const requests: RtnlRequest[] = definition.subnets.map(({ subnet, gateway }) =>
    addressOf('address.add', name, subnet, gateway),
  );
  requests.push({ op: 'link.set', name, up: true });
  // What route_localnet is to IPv4: answers to a connection from ::1 come in by the bridge. ip6_rcv drops ::1 from
  // anywhere but lo, so nobody else can use it.
  if (v6) {
    requests.push({
      op: 'route.add',
      destination: '::1',
      prefix: 128,
      link: name,
      type: 'local',
      table: 255,
      // One per bridge: of two routes with the same metric the kernel keeps the first.
      metric: 4096 + Number.parseInt(definition.id.slice(0, 6), 16),
    });
  }
  const replies = await native.rtnl(requests);
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST'),
    name,
  );
}

/** By family: on a kernel without IPv6 there are no switches of it. */
export function bridgeSwitches({ network_interface: name, subnets }: NetworkDefinition) {
  const of4 = `net/ipv4/conf/${name}`;
  const of6 = `net/ipv6/conf/${name}`;
  const has6 = subnets.some(({ subnet }) => subnet.includes(':'));
  const v4: Record<string, string> = {
    // Lets packets from 127.0.0.1 leave through the bridge to a published port; strangers' from or to it are dropped in raw.
    [`${of4}/route_localnet`]: '1',
    // A container is nobody's router: it tells this host no better way, and sends it nothing by a route of its own.
    [`${of4}/accept_redirects`]: '0',
    [`${of4}/accept_source_route`]: '0',
    // The kernel remembers the sender of an ARP request. This limits it to senders that are routed through the bridge.
    [`${of4}/arp_filter`]: '1',
  };
  const v6: Record<string, string> = has6
    ? {
        [`${of6}/disable_ipv6`]: '0',
        [`${of6}/accept_ra`]: '0',
        [`${of6}/accept_dad`]: '0',
        [`${of6}/accept_redirects`]: '0',
      }
    : { [`${of6}/disable_ipv6`]: '1' };
  return { v4, v6 };
}

/** After it is made: an MTU that a bridge is made with gives way to that of its ports (br_mtu_auto_adjust in the kernel). */
async function setMtu(native: Outside, { network_interface: name, options }: NetworkDefinition): Promise<void> {
  const mtu = Number(options.mtu ?? DEFAULT_MTU);
  const link = await native.link(name);
  if (link?.mtu !== mtu) refuse(await native.rtnl([{ op: 'link.set', name, mtu }]), name);
}

/** Only where it is another: the kernel forgets all neighbours of a link whose MAC is set, to the same one too. */
async function setMac(native: Outside, name: string, mac: string): Promise<void> {
  const link = await native.link(name);
  if (link?.mac !== mac) refuse(await native.rtnl([{ op: 'link.set', name, mac }]), name);
}

const connected = (link: string, subnet: string): RtnlRequest => ({ op: 'route.add', ...connectedRoute(link, subnet) });
const disconnected = (link: string, subnet: string): RtnlRequest => ({
  op: 'route.del',
  ...connectedRoute(link, subnet),
});

function addressOf(
  op: 'address.add' | 'address.del',
  link: string,
  subnet: string,
  address: string,
): Extract<RtnlRequest, { op: 'address.add' | 'address.del' }> {
  return { op, link, address, prefix: Number(subnet.slice(subnet.indexOf('/') + 1)) };
}

export const lowerNetwork =
  (kernel: Kernel) =>
  async ({ definition, outside, unmanaged = false }: RaiseInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null || unmanaged) return;
    await removeBridge(kernel, on, definition);
    const { table } = kernel.instance;
    const rules = rulesOf(definition);
    await byLook(on.kernel, async () => {
      const seen = await subnetElements(on.kernel, table).catch((error: unknown) => {
        if (isKernelError(error) && error.code === 'ENOENT') return null;
        throw error;
      });
      if (seen === null) return; // The table is gone, and the network's rules with it.
      // After a failed update the sets may hold more than the definition says. A chain that an element leads to cannot be removed.
      const left = staleElements(table, rules.bridge, networkRules(table, rules), seen);
      await on.kernel.nft([...left, ...removeNetworkRules(table, rules)]);
    });
  };

async function removeBridge(kernel: Kernel, on: OutsideKernel, definition: NetworkDefinition): Promise<void> {
  const name = definition.network_interface;
  const link = await on.kernel.link(name);
  const alias = bridgeAlias(kernel.instance.name, definition.name);
  if (link !== null && isOurs(kernel, link, alias)) await removeLinks(on, kernel, [name]);
}

/** By its alias; or by its group alone, when a crash came between the two. */
function isOurs(kernel: Kernel, link: Link, alias: string): boolean {
  return link.alias === alias || (link.alias === '' && link.group === kernel.instance.group);
}

export function bridgeAlias(instance: string, network: string): string {
  return `cleat:${instance}:network:${network}`;
}

/** What the ruleset needs to know of a definition. */
export function rulesOf(definition: NetworkDefinition) {
  const { isolate, outbound_addr4: out4, outbound_addr6: out6 } = definition.options;
  const masquerade = definition.options['com.docker.network.bridge.enable_ip_masquerade'] ?? 'true';
  return {
    bridge: definition.network_interface,
    subnets: definition.subnets.map(({ subnet, gateway }) => ({ cidr: subnet, gateway })),
    dns: definition.dns_enabled,
    internal: definition.internal,
    isolate: isolate === 'false' ? ('open' as const) : isolate === 'true' ? ('isolated' as const) : ('strict' as const),
    masquerade: !definition.internal && ['true', '1'].includes(masquerade),
    outbound: [out4, out6].filter((address) => address !== undefined),
  };
}
