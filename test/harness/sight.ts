/**
 * The state of some containers and networks, from the daemon, from their namespaces and from the firewall.
 *
 * Guarantees: two sights with the same `exact` have the same addresses, MACs and ports; with the same `shape`, the same
 * objects with any addresses, names and random ports. They contain nothing that is new with every start.
 * Limits: containers between two states are described by their present step; wait until they are at rest.
 */
import { execFileSync } from 'node:child_process';
import type { NetworkDefinition } from '../../state/network.ts';
import type { TestDaemon } from './daemon.ts';
import { carries, inspectRuleset, ipJson } from './picture.ts';

export interface Sight {
  exact: string;
  shape: string;
}

export async function see(daemon: TestDaemon, ids: readonly string[], networks: readonly string[]): Promise<Sight> {
  const lines: string[] = [];
  for (const id of ids) {
    const { status, body } = await daemon.get(`/v1/containers/${id}`);
    if (status === 404) {
      lines.push(`${id} absent`);
      continue;
    }
    const { state, networks: has, requested_networks, ports, netns, owner_gone, files, bound_to, uplink } = body;
    const way = uplink && { program: uplink.program, addresses: uplink.addresses };
    lines.push(`${id} ${JSON.stringify({ state, has, requested_networks, way, ports, owner_gone, files, bound_to })}`);
    const path = netns?.mode === 'new' ? netns.path : null;
    if (typeof path === 'string') lines.push(...inside(path).map((line) => `${id}: ${line}`));
  }
  for (const network of networks) {
    const { body } = await daemon.get<NetworkDefinition>(`/v1/networks/${network}`);
    const { subnets, routes, network_dns_servers, internal, dns_enabled, ipv6_enabled } = body;
    // In the order of the update that named them, or in that of the schema once they have been read from the disk.
    const options = Object.fromEntries(Object.entries(body.options).sort(([a], [b]) => (a < b ? -1 : 1)));
    const definition = { subnets, options, routes, network_dns_servers, internal, dns_enabled, ipv6_enabled };
    lines.push(`${network} ${JSON.stringify(definition)}`);
    lines.push(...bridge(body.network_interface).map((line) => `${network}: ${line}`));
  }
  lines.push(...ruleset());
  const exact = lines.join('\n');
  return { exact, shape: shapeOf(lines) };
}

/** Links, addresses and routes of a container. */
function inside(path: string): string[] {
  const links = ipJson<Link[]>(path, 'address').map(describe);
  const routes = ['-4', '-6'].flatMap((family) =>
    ipJson<Record<string, unknown>[]>(path, family, 'route').map(({ dst, gateway, dev, metric }) =>
      JSON.stringify([dst, gateway, dev, metric]),
    ),
  );
  return [...links, ...routes].sort();
}

interface Link {
  ifname: string;
  address: string;
  mtu: number;
  flags: string[];
  addr_info: { local: string; prefixlen: number; scope: string }[];
}

function describe({ ifname, address, mtu, flags, addr_info }: Link): string {
  const addresses = addr_info
    .filter(({ scope }) => scope === 'global')
    .map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  return JSON.stringify([ifname, address, mtu, carries(flags), addresses.sort()]);
}

/** A bridge exists as long as it has users; nobody chose its MAC. */
function bridge(name: string): string[] {
  try {
    const out = execFileSync('ip', ['-j', 'address', 'show', 'dev', name], { stdio: ['ignore', 'pipe', 'ignore'] });
    return (JSON.parse(out.toString()) as Link[]).map((link) => describe({ ...link, address: '', flags: [] }));
  } catch {
    return [];
  }
}

/** Without handles, which are new with each rule, and sorted by content: rules of a chain keep their order. */
function ruleset(): string[] {
  return inspectRuleset()
    .map((line) => line.replace(/"handle": ?\d+,? ?/g, ''))
    .sort();
}

/**
 * Replaces values of which one is as good as another: addresses, MACs, generations, names of links of one life, and
 * random ports.
 */
function shapeOf(lines: readonly string[]): string {
  return lines
    .map((line) =>
      line
        .replace(/\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b/g, 'MAC')
        .replace(/\b\d+\.\d+\.\d+\.\d+\b/g, 'IP4')
        .replace(/\bfd[0-9a-f]{2}:[0-9a-f:]*/g, 'IP6')
        .replace(/"cleat [0-9a-f]{8}"/g, '"HASH"') // a hash of a rule's content, addresses included
        .replace(/\b(vx|wg)-[0-9a-f]{10}\b/g, '$1') // has the beginning of the id of its network
        .replace(/\b\d{5,}\b/g, 'N'),
    )
    .sort()
    .join('\n');
}
