/**
 * A network's bridge and rules in its outside namespace.
 *
 * Guarantees: the rules stand before the bridge is up, and go after nothing can cross it. A bridge of ours is known by
 * its alias. Run twice, the outcome is the same.
 * Limits: a bridge that is there already keeps its MTU.
 */
import type { RaiseInput } from '../machines/network.ts';
import { isKernelError, type Link, type RtnlRequest } from '../native/index.ts';
import type { NetworkDefinition } from '../state/network.ts';
import type { Kernel } from './kernel.ts';
import { refuse, removeLinks, stranger } from './link.ts';
import { networkRules, removeNetworkRules } from './ruleset.ts';

export const raiseNetwork =
  (kernel: Kernel) =>
  async ({ definition, outside }: RaiseInput): Promise<void> => {
    const { kernel: native } = kernel.outside(outside);
    const name = definition.network_interface;
    const alias = bridgeAlias(kernel.instance.name, definition.name);
    const mtu = definition.options.mtu === undefined ? {} : { mtu: Number(definition.options.mtu) };
    // A MAC of its own: without one a bridge takes the lowest of its ports', and the gateway's would change with them.
    const mac = ['02', ...(definition.id.slice(0, 10).match(/../g) ?? [])].join(':');
    // Not in one go with the alias: after EEXIST the alias would be given to a bridge of somebody else.
    const made = await native.rtnl([
      { op: 'link.add', kind: 'bridge', name, mac, group: kernel.instance.group, ...mtu },
    ]);
    if (made[0]?.code === 'EEXIST') {
      const link = await native.link(name);
      if (link !== null && !isOurs(kernel, link, alias)) throw stranger(name, link.alias);
    } else {
      refuse(made, name);
    }
    refuse(await native.rtnl([{ op: 'link.set', name, alias }]), name);

    const v6 = definition.subnets.some(({ subnet }) => subnet.includes(':'));
    await native.nft(networkRules(kernel.instance.table, rulesOf(definition)));
    await native.sysctlWrite({
      // Lets packets from 127.0.0.1 leave through the bridge to a published port; strangers' are dropped in raw.
      [`net/ipv4/conf/${name}/route_localnet`]: '1',
      [`net/ipv6/conf/${name}/disable_ipv6`]: v6 ? '0' : '1',
      ...(v6 ? { [`net/ipv6/conf/${name}/accept_ra`]: '0', [`net/ipv6/conf/${name}/accept_dad`]: '0' } : {}),
      ...(v6 ? { 'net/ipv6/conf/all/forwarding': '1' } : {}),
    });
    const requests: RtnlRequest[] = definition.subnets.map(({ subnet, gateway }) => ({
      op: 'address.add',
      link: name,
      address: gateway,
      prefix: Number(subnet.slice(subnet.indexOf('/') + 1)),
    }));
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
  };

export const lowerNetwork =
  (kernel: Kernel) =>
  async ({ definition, outside }: RaiseInput): Promise<void> => {
    const on = kernel.outsideIfThere(outside);
    if (on === null) return;
    const name = definition.network_interface;
    const link = await on.kernel.link(name);
    const alias = bridgeAlias(kernel.instance.name, definition.name);
    if (link !== null && isOurs(kernel, link, alias)) await removeLinks(on, kernel, [name]);
    try {
      await on.kernel.nft(removeNetworkRules(kernel.instance.table, rulesOf(definition)));
    } catch (error) {
      if (!isKernelError(error) || error.code !== 'ENOENT') throw error; // the table is gone, and these with it
    }
  };

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
