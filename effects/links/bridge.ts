/**
 * A network's bridge and rules in its outside namespace: raised, changed, repaired and lowered.
 *
 * Guarantees: the rules are in place before the bridge is up, and are removed when nothing can cross it any more. An alias
 * marks a bridge of ours. Running an effect twice gives the same result. A bridge of others (mode=unmanaged) is only read,
 * never changed, and its network has no rules (unmanaged-bridge.ts).
 * Limits: addresses that others added to a bridge in use stay. Raising is for the first user: a bridge that exists by then is
 * one that could not be lowered. It may have another definition, so it is made anew.
 */
import type { RaiseInput, ReviseInput } from '../../machines/network.ts';
import type { Member } from '../../plan/kernel/expected-bridge.ts';
import { isOverlay, tunnelName, usablePeers, type OverlaySeen } from '../../plan/kernel/expected-overlay.ts';
import { ETHERNET_MTU } from '../../plan/networks/mtu.ts';
import { withGateways } from '../../plan/networks/network.ts';
import type { BridgeSeen, Seen } from '../../plan/networks/unmanaged.ts';
import { type Link, type Outside, type RtnlRequest } from '../../native/index.ts';
import type { NetworkDefinition } from '../../state/network.ts';
import { connectedRoute } from './connected-route.ts';
import { forwardIpv6 } from '../namespaces/forwarding.ts';
import type { Kernel, OutsideKernel } from '../kernel.ts';
import { removeLinks } from './link.ts';
import { removeRules, setPeers, setRules } from '../firewall/network-rules.ts';
import { hostNeighbours } from './neighbour.ts';
import { portTag, refuseTag, tagOf } from './vlan.ts';
import { refuse, stranger } from '../refusal.ts';
import type { NetworkRules, OverlayRules } from '../ruleset/ruleset-inputs.ts';
import { ipv6Switches, requireIpv6, writeIfThere } from '../namespaces/switches.ts';
import { ensurePeers, removePeers } from '../vtep/peers.ts';
import { ensureTunnel, releaseTunnel } from '../vtep/link.ts';
import { configureWireguard } from '../vtep/wireguard.ts';
import { rejoinBridge, requireBridge } from './unmanaged-bridge.ts';

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
    await raiseOverlay(kernel, outside, definition);
    return null;
  };

/** Returns the host ends of the links of a network's containers. */
type Members = (outside: string | null, network: string) => readonly Member[];

/**
 * Changes a bridge in use from one definition to another: first adds what only the new one has, then removes what only the old
 * one had. The rules change in one transaction. Also restores whatever others have removed from the bridge meanwhile, ports
 * included.
 */
export const reviseNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ from, to, mac, outside, unmanaged = false }: ReviseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const name = to.network_interface;
    if (unmanaged) return rejoinBridge(native, to, members(outside, to.name));
    await makeBridge(kernel, native, to, mac);
    // Does not depend on `from`: after a failed change, `from` is what the bridge may have, not what it has.
    await setRules(native, kernel.instance.table, rulesOf(to));
    const ports = () => members(outside, to.name);
    await restore(native, to, mac, ports);
    const kept = new Set(withGateways(to).flatMap(({ subnet, gateway }) => [subnet, `${subnet} ${gateway}`]));
    const gone = withGateways(from).filter(({ subnet, gateway }) => !kept.has(`${subnet} ${gateway}`));
    if (gone.length === 0) return raiseOverlay(kernel, outside, to);
    const replies = await native.rtnl([
      ...gone.map(({ subnet, gateway }) => addressOf('address.del', name, subnet, gateway)),
      // The kernel removes its own connected route with the address, but not one that `restore` has added.
      ...gone.filter(({ subnet }) => !kept.has(subnet)).map(({ subnet }) => disconnected(name, subnet)),
    ]);
    // The address was never added, or the route went with its address. With IPv6 off (dressBridge) the addresses are gone
    // already.
    refuse(
      replies.filter(({ code }) => !['EADDRNOTAVAIL', 'ESRCH'].includes(code)),
      name,
    );
    // Removing an IPv4 address also removes those added after it in its subnet (__inet_del_ifa). An IPv6 address exists only
    // once.
    await restore(native, to, mac, ports);
    // The share that was ours may be another host's by now, and the bridge's own route to it was in the way.
    await raiseOverlay(kernel, outside, to);
  };

/** Restores what is missing of a bridge in use, and makes these links its ports again. Leaves the rules alone. */
export const repairNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ definition, mac, outside, unmanaged = false }: RaiseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    if (unmanaged) return rejoinBridge(native, definition, members(outside, definition.name));
    await makeBridge(kernel, native, definition, mac);
    await restore(native, definition, mac, () => members(outside, definition.name));
    await raiseOverlay(kernel, outside, definition);
  };

/** Gives a bridge in use the other hosts of its overlay: the rules that let their packets in, and what leads there. */
export const programPeers =
  (kernel: Kernel) =>
  async ({ definition, outside }: RaiseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    if (!isOverlay(definition)) return;
    await setPeers(native, kernel.instance.table, rulesOf(definition));
    await configureWireguard(kernel, outside, definition);
    await ensurePeers(native, definition);
  };

/** Makes or restores what an overlay has beside its bridge. Requires its rules. */
async function raiseOverlay(kernel: Kernel, outside: string | null, definition: Seen): Promise<void> {
  if (!isOverlay(definition)) return;
  await ensureTunnel(kernel, outside, definition);
  await configureWireguard(kernel, outside, definition);
  await ensurePeers(kernel.outside(outside).kernel, definition);
}

/**
 * Restores an existing bridge to this definition, with those of its ports that exist. `members` is called in the same turn in
 * which the request for the ports is queued behind all earlier ones. So a port that a container removes at that moment is
 * removed after this request, and one that it has removed already is not restored.
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
    // The kernel adds these routes with the addresses, but they can be gone while the addresses remain.
    ...definition.subnets.map(({ subnet }) => connected(name, subnet)),
    // The bridge forgets its neighbours when its link goes down or its MAC changes.
    ...ports.flatMap((port) => hostNeighbours({ ...port, bridge: name })),
    // A port loses its flags with its bridge (link.ts), and no dump shows them.
    ...ports.map(({ hostLink }): RtnlRequest => ({
      op: 'link.set',
      name: hostLink,
      hairpin: true,
      ...portTag(tagOf(definition)),
      ...(isStray(links.get(hostLink)) ? { master: name, up: true } : {}),
    })),
  ]);
  // ENODEV: the link is gone by now, with its container.
  refuse(
    replies.filter(({ code }) => code !== 'ENODEV' && code !== 'EEXIST'),
    name,
  );
}

/** Makes the link alone, or takes the existing one if its alias says that it is ours. */
async function makeBridge(kernel: Kernel, native: Outside, definition: NetworkDefinition, mac: string): Promise<void> {
  const name = definition.network_interface;
  const alias = bridgeAlias(kernel.instance.name, definition.name);
  // Not in one batch with the alias: after EEXIST the batch would set the alias on somebody else's bridge.
  const vlan = tagOf(definition);
  const tags = vlan === undefined ? {} : { vlanFiltering: true };
  const made = await native.rtnl([
    { op: 'link.add', kind: 'bridge', name, mac, group: kernel.instance.group, ...tags },
  ]);
  if (made[0]?.code === 'EEXIST') {
    const link = await native.link(name);
    if (link !== null && !isOurs(kernel, link, alias)) throw stranger(name, link.alias);
  } else {
    refuseTag(made, vlan, name);
    refuse(made, name);
  }
  // The gateways are on the side of the containers.
  const named = await native.rtnl([{ op: 'link.set', name, alias, ...(vlan === undefined ? {} : { selfVlan: vlan }) }]);
  refuseTag(named, vlan, name);
  refuse(named, name);
}

/** Sets the switches, then adds the addresses, then sets the bridge up: IPv6 must be configured before there is an address. */
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
  const requests: RtnlRequest[] = withGateways(definition).map(({ subnet, gateway }) =>
    addressOf('address.add', name, subnet, gateway),
  );
  requests.push({ op: 'link.set', name, up: true });
  // The IPv6 counterpart of route_localnet: answers to a connection from ::1 come in by the bridge. ip6_rcv drops ::1 from
  // every interface but lo, so nobody else can use the route.
  if (v6) {
    requests.push({
      op: 'route.add',
      destination: '::1',
      prefix: 128,
      link: name,
      type: 'local',
      table: 255,
      // One metric per bridge: the kernel keeps only the first of two routes with the same metric.
      metric: 4096 + Number.parseInt(definition.id.slice(0, 6), 16),
    });
  }
  const replies = await native.rtnl(requests);
  refuse(
    replies.filter(({ code }) => code !== 'EEXIST'),
    name,
  );
}

/** Returns the switches of a bridge by family: a kernel without IPv6 has no IPv6 switches. */
export function bridgeSwitches({ network_interface: name, subnets }: NetworkDefinition) {
  const of4 = `net/ipv4/conf/${name}`;
  const has6 = subnets.some(({ subnet }) => subnet.includes(':'));
  const v4: Record<string, string> = {
    // Lets packets from 127.0.0.1 leave through the bridge to a published port. The raw chains drop others' packets from or to
    // it.
    [`${of4}/route_localnet`]: '1',
    // A container is no router: the host accepts no redirects and no source routes from it.
    [`${of4}/accept_redirects`]: '0',
    [`${of4}/accept_source_route`]: '0',
    // The kernel remembers the sender of an ARP request. This limits it to senders that are routed through the bridge.
    [`${of4}/arp_filter`]: '1',
  };
  return { v4, v6: ipv6Switches(name, has6) };
}

/**
 * Sets the MTU after the bridge is made: the MTU of a link.add gives way to that of the ports (br_mtu_auto_adjust in the
 * kernel).
 */
async function setMtu(native: Outside, { network_interface: name, options }: NetworkDefinition): Promise<void> {
  const mtu = Number(options.mtu ?? ETHERNET_MTU);
  const link = await native.link(name);
  if (link?.mtu !== mtu) refuse(await native.rtnl([{ op: 'link.set', name, mtu }]), name);
}

/** Sets the MAC only if it differs: the kernel forgets all neighbours of a link whose MAC is set, even to the same MAC. */
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
    await removeRules(on.kernel, kernel.instance.table, rulesOf(definition));
  };

/** Removes the bridge, and what an overlay has beside it. */
async function removeBridge(kernel: Kernel, on: OutsideKernel, definition: Seen): Promise<void> {
  const name = definition.network_interface;
  const link = await on.kernel.link(name);
  const alias = bridgeAlias(kernel.instance.name, definition.name);
  const doomed = link !== null && isOurs(kernel, link, alias) ? [name] : [];
  if (isOverlay(definition)) doomed.push(...(await releaseTunnel(kernel, on, definition)));
  if (doomed.length > 0) await removeLinks(on, kernel, doomed);
  if (isOverlay(definition)) await removePeers(on.kernel, definition);
}

/** Recognises a bridge of ours by its alias, or by its group alone if a crash came between the two. */
function isOurs(kernel: Kernel, link: Link, alias: string): boolean {
  return link.alias === alias || (link.alias === '' && link.group === kernel.instance.group);
}

export function bridgeAlias(instance: string, network: string): string {
  return `cleat:${instance}:network:${network}`;
}

/** Returns the part of a definition that the ruleset needs. */
export function rulesOf(definition: Seen): NetworkRules {
  const { isolate, outbound_addr4: out4, outbound_addr6: out6 } = definition.options;
  const masquerade = definition.options['com.docker.network.bridge.enable_ip_masquerade'] ?? 'true';
  return {
    bridge: definition.network_interface,
    subnets: withGateways(definition).map(({ subnet, gateway }) => ({ cidr: subnet, gateway })),
    dns: definition.dns_enabled,
    internal: definition.internal,
    isolate: isolate === 'false' ? ('open' as const) : isolate === 'true' ? ('isolated' as const) : ('strict' as const),
    masquerade: !definition.internal && ['true', '1'].includes(masquerade),
    outbound: [out4, out6].filter((address) => address !== undefined),
    ...(isOverlay(definition) ? { overlay: overlayRulesOf(definition) } : {}),
  };
}

function overlayRulesOf(definition: OverlaySeen): OverlayRules {
  const { address: local, backend, pools, vni, port } = definition.overlay;
  const peers = usablePeers(definition).map(({ address }) => address);
  return { link: tunnelName(definition), pools, vxlan: backend === 'vxlan' ? { local, vni, port, peers } : null };
}
