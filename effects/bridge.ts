/**
 * A network's bridge and rules in its outside namespace: raised, changed, repaired and lowered.
 *
 * Guarantees: the rules stand before the bridge is up, and go after nothing can cross it. A bridge of ours is known by
 * its alias. Run twice, the outcome is the same.
 * Limits: addresses that others gave a bridge that is in use stay. Raising is for the first user: a bridge that is there
 * by then is what could not be lowered, and may be of another definition, so it is made anew.
 */
import type { RaiseInput, ReviseInput } from '../machines/network.ts';
import type { Member } from '../machines/plan/expected-bridge.ts';
import { isKernelError, type Link, type Outside, type RtnlRequest } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Kernel, OutsideKernel } from './kernel.ts';
import { removeLinks } from './link.ts';
import { hostNeighbours } from './neighbour.ts';
import { refuse, stranger } from './refusal.ts';
import { networkRules, removeNetworkRules } from './ruleset.ts';
import { writeIfThere } from './switches.ts';

/** What a bridge has that nobody gave another: the kernel's default for Ethernet. */
const DEFAULT_MTU = 1500;

export const raiseNetwork =
  (kernel: Kernel) =>
  async ({ definition, mac, outside }: RaiseInput): Promise<void> => {
    const on = kernel.outside(outside);
    const { kernel: native } = on;
    await removeBridge(kernel, on, definition);
    await makeBridge(kernel, native, definition, mac);
    await native.nft(networkRules(kernel.instance.table, rulesOf(definition)));
    await setMtu(native, definition);
    await dressBridge(native, definition);
  };

/** The host's ends of the links of a network's containers. */
type Members = (outside: string | null, network: string) => readonly Member[];

/**
 * From one definition to another on a bridge that is in use: what the new one has more, then what the old one had more.
 * The rules change in one transaction. What others took of the bridge meanwhile is put back, ports and all.
 */
export const reviseNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ from, to, mac, outside }: ReviseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const name = to.network_interface;
    await makeBridge(kernel, native, to, mac);
    // Whatever `from` had: after a change that failed it is what the bridge may have, not what it has.
    await native.nft(networkRules(kernel.instance.table, rulesOf(to)));
    await restore(native, to, mac, members(outside, to.name));
    const kept = new Set(to.subnets.map(({ subnet }) => subnet));
    const gone = from.subnets.filter(({ subnet }) => !kept.has(subnet));
    const requests = gone.map(({ subnet, gateway }) => addressOf('address.del', name, subnet, gateway));
    const replies = requests.length === 0 ? [] : await native.rtnl(requests);
    // EADDRNOTAVAIL: it never came to that. With IPv6 off (raiseNetwork) its addresses are gone already.
    refuse(
      replies.filter(({ code }) => code !== 'EADDRNOTAVAIL'),
      name,
    );
  };

/** Put back what is missing of a bridge that is in use, and make these links its ports again. The rules stand. */
export const repairNetwork =
  (kernel: Kernel, members: Members) =>
  async ({ definition, mac, outside }: RaiseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    await makeBridge(kernel, native, definition, mac);
    await restore(native, definition, mac, members(outside, definition.name));
  };

/** A bridge that is there, as this definition says, with these of its ports that are there. */
async function restore(
  native: Outside,
  definition: NetworkDefinition,
  mac: string,
  members: readonly Member[],
): Promise<void> {
  const name = definition.network_interface;
  await setMac(native, name, mac);
  await setMtu(native, definition);
  await dressBridge(native, definition);
  const bridge = await native.link(name);
  const links = new Map((await native.links()).map((link) => [link.name, link]));
  const ports = members.filter(({ hostLink, alias }) => links.get(hostLink)?.alias === alias);
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
  await native.sysctlWrite({
    // Lets packets from 127.0.0.1 leave through the bridge to a published port; strangers' from or to it are dropped in raw.
    [`net/ipv4/conf/${name}/route_localnet`]: '1',
    ...(v6
      ? {
          [`net/ipv6/conf/${name}/disable_ipv6`]: '0',
          [`net/ipv6/conf/${name}/accept_ra`]: '0',
          [`net/ipv6/conf/${name}/accept_dad`]: '0',
          'net/ipv6/conf/all/forwarding': '1',
        }
      : {}),
  });
  if (!v6) await writeIfThere(native, { [`net/ipv6/conf/${name}/disable_ipv6`]: '1' });
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

function connected(link: string, subnet: string): RtnlRequest {
  const [destination = '', prefix = ''] = subnet.split('/');
  // The kernel's metrics: 0, and IP6_RT_PRIO_ADDRCONF.
  const metric = destination.includes(':') ? 256 : 0;
  return { op: 'route.add', destination, prefix: Number(prefix), link, metric, scope: 'link' };
}

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
  async ({ definition, outside }: RaiseInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    await removeBridge(kernel, on, definition);
    try {
      await on.kernel.nft(removeNetworkRules(kernel.instance.table, rulesOf(definition)));
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'ENOENT') throw error; // the table is gone, and these with it
    }
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
  const { isolate } = definition.options;
  return {
    bridge: definition.network_interface,
    subnets: definition.subnets.map(({ subnet }) => ({ cidr: subnet })),
    internal: definition.internal,
    isolate: isolate === 'false' ? ('open' as const) : isolate === 'true' ? ('isolated' as const) : ('strict' as const),
    masquerade: !definition.internal,
  };
}
